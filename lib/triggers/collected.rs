//! The items of a poll that are emitted as one message, within a limit.

use anyhow::ensure;
use sailor::snapshot::Fingerprint;
use serde_json::Value;
use std::io;

/// The most bytes of JSON that are kept for one message: several times what a message can hold.
const MAX_BYTES: usize = 64 << 20;

/// The new items so far, with their fingerprints and ids.
#[derive(Default)]
pub struct Collected {
    pub items: Vec<Value>,
    pub ids: Vec<(Fingerprint, Value)>,
    bytes: usize,
}

impl Collected {
    /// Adds items.
    ///
    /// # Errors
    /// Returns an error if they are too large together.
    pub fn add(&mut self, items: Vec<Value>, ids: Vec<(Fingerprint, Value)>) -> anyhow::Result<()> {
        self.add_within(MAX_BYTES, items, ids)
    }

    fn add_within(
        &mut self,
        limit: usize,
        items: Vec<Value>,
        ids: Vec<(Fingerprint, Value)>,
    ) -> anyhow::Result<()> {
        self.bytes += items.iter().map(text_len).sum::<usize>();
        ensure!(
            self.bytes <= limit,
            "the new items of this poll have more than {limit} bytes ({} items so far), too much for one message (`emit` = \
             `all`): choose `emit` = `each` or `page`",
            self.items.len() + items.len()
        );
        self.items.extend(items);
        self.ids.extend(ids);
        Ok(())
    }
}

/// The length of a value as JSON.
fn text_len(value: &Value) -> usize {
    let mut count = Count(0);
    // Counting does not fail.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn items_are_collected_up_to_the_limit() {
        let mut collected = Collected::default();
        let item = json!({ "a": "bcd" });
        for _ in 0..10 {
            collected
                .add_within(110, vec![item.clone()], vec![])
                .unwrap();
        }
        assert_eq!(collected.items.len(), 10);
        let error = collected.add_within(110, vec![json!(1)], vec![]);
        let error = error.unwrap_err().to_string();
        for part in ["110 bytes", "11 items", "`emit` = `each`"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
