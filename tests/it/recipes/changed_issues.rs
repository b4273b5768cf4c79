use sailor::{prelude::*, snapshot::{self, Fingerprint, Fingerprints, Memory, Snapshot}};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Deserialize, Serialize, JsonSchema)]
struct Issue {
    id: u64,
    updated_at: String,
}

/// The time of the last change, and the issues of that time that were emitted, as they were then.
#[derive(Clone, Default, Deserialize, Serialize)]
struct Position {
    time: String,
    seen: Fingerprints,
}

impl snapshot::Position for Position {
    fn fingerprints(&mut self) -> Vec<&mut Fingerprints> {
        vec![&mut self.seen]
    }
}

#[derive(Default)]
struct ChangedIssues {
    memory: Memory<Position>,
}

impl Trigger for ChangedIssues {
    type Config = Value;
    type Output = Issue;
    type Snapshot = Snapshot<Position>;

    async fn poll(
        &self,
        since: Option<Snapshot<Position>>,
        cx: Context<Value, Issue>,
    ) -> anyhow::Result<Option<Snapshot<Position>>> {
        let mut position = since.map(|since| self.memory.recall(since)).unwrap_or_default();
        let mut pages = 1;
        loop {
            let from = position.time.clone();
            let (mut issues, mut is_end) = (Vec::new(), false);
            for page in (1..=pages).rev() {
                let request = cx.oauth().get("/issues").query(&[("updated_from", &from)]);
                let request = request.query(&[("page", page), ("per_page", 100)]);
                let list: Vec<Issue> = request.send_json().await?;
                is_end |= list.len() < 100;
                issues.extend(list);
            }
            issues.sort_by(|a, b| a.updated_at.cmp(&b.updated_at));
            for issue in issues {
                if issue.updated_at > position.time {
                    position = Position { time: issue.updated_at.clone(), ..Position::default() };
                }
                let content = serde_json::to_string(&issue)?;
                if position.seen.insert(Fingerprint::of(&content)) {
                    cx.data(&issue).await?;
                }
            }
            let snapshot = self.memory.save(position.clone())?;
            if is_end {
                return Ok(Some(snapshot));
            }
            cx.snapshot(&snapshot).await?;
            // A page whose issues all have the same time: the next ones are read too.
            pages = if position.time == from { pages * 2 } else { 1 };
        }
    }
}
