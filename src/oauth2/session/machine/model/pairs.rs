//! Which events can come in which states.

use std::collections::BTreeSet;

/// A state's name and an event's name.
pub(super) type Pair = (&'static str, &'static str);

const EVENTS: [&str; 14] = [
    "Needed",
    "Emitted",
    "Configured",
    "Alarm",
    "Stop",
    "Locked",
    "Fenced",
    "Looked",
    "Exchanged",
    "Woke",
    "Saved",
    "Confirmed",
    "KeysSaved",
    "Secret",
];

/// What comes without being asked for.
const UNASKED: usize = 5;

/// Each state with the answers that it waits for.
const ANSWERS: [(&str, &[&str]); 15] = [
    ("Idle", &[]),
    ("Locking", &["Locked", "Fenced"]),
    ("Looking", &["Looked"]),
    ("Fencing", &["Fenced"]),
    ("Exchanging", &["Exchanged"]),
    ("Retrying", &["Woke"]),
    ("Doubting", &["Woke"]),
    ("DoubtLooking", &["Looked"]),
    ("SaveLooking", &["Looked"]),
    ("Saving", &["Saved"]),
    ("SavePausing", &["Woke"]),
    ("Confirming", &["Confirmed"]),
    ("EmitLooking", &["Looked"]),
    ("SavingKeys", &["KeysSaved"]),
    ("ReadingSecret", &["Secret"]),
];

/// Returns whether the driver can give the machine this event in this state.
fn is_possible(state: &str, answers: &[&str], event: &str) -> bool {
    let is_unasked = EVENTS[..UNASKED].contains(&event);
    match state {
        // The driver answers at once, before it takes another event.
        "Fencing" => event == "Fenced",
        // If the platform keeps the tokens, this process saves none and takes none from its configuration.
        "ReadingSecret" => ["Needed", "Emitted", "Stop", "Secret"].contains(&event),
        _ => is_unasked || answers.contains(&event),
    }
}

/// Prints each pair as visited or impossible, and returns those for which that is not true.
pub(super) fn check(visited: &BTreeSet<Pair>) -> Vec<String> {
    let mut wrong = Vec::new();
    println!(
        "{:14} {}",
        "",
        EVENTS.map(|event| format!("{event:11}")).concat()
    );
    for (state, answers) in ANSWERS {
        let cells = EVENTS.map(|event| {
            match (
                is_possible(state, answers, event),
                visited.contains(&(state, event)),
            ) {
                (true, true) => "visited    ",
                (false, false) => "impossible ",
                (true, false) => {
                    wrong.push(format!("{state} never takes {event}"));
                    "?          "
                }
                (false, true) => {
                    wrong.push(format!("{state} takes {event}"));
                    "!          "
                }
            }
        });
        println!("{state:14} {}", cells.concat());
    }
    let unknown = visited.iter().filter(|(state, event)| {
        !EVENTS.contains(event) || !ANSWERS.iter().any(|(known, _)| known == state)
    });
    wrong.extend(unknown.map(|(state, event)| format!("{state} takes {event}, which are unknown")));
    wrong
}
