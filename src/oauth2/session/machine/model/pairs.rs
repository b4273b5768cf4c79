//! Which events can come in which states.

use super::super::{Record, State, event::Event};
use std::collections::BTreeSet;

/// A state's name and an event's name.
pub(super) type Pair = (&'static str, &'static str);

const EVENTS: [&str; 13] = [
    "Needed",
    "Emitted",
    "Configured",
    "Alarm",
    "Stop",
    "Locked",
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
const ANSWERS: [(&str, &[&str]); 12] = [
    ("Idle", &[]),
    ("Locking", &["Locked"]),
    ("Looking", &["Looked"]),
    ("Exchanging", &["Exchanged"]),
    ("Pausing", &["Woke"]),
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

pub(super) fn state_name<R: Record, S>(state: &State<R, S>) -> &'static str {
    match state {
        State::Idle => "Idle",
        State::Locking(_) => "Locking",
        State::Looking(_) => "Looking",
        State::Exchanging(..) => "Exchanging",
        State::Pausing(_) => "Pausing",
        State::SaveLooking(_) => "SaveLooking",
        State::Saving(_) => "Saving",
        State::SavePausing(_) => "SavePausing",
        State::Confirming(_) => "Confirming",
        State::EmitLooking(_) => "EmitLooking",
        State::SavingKeys(_) => "SavingKeys",
        State::ReadingSecret(..) => "ReadingSecret",
    }
}

pub(super) fn event_name<R, S>(event: &Event<R, S>) -> &'static str {
    match event {
        Event::Needed(_) => "Needed",
        Event::Emitted(_) => "Emitted",
        Event::Configured(..) => "Configured",
        Event::Alarm(_) => "Alarm",
        Event::Stop => "Stop",
        Event::Locked(_) => "Locked",
        Event::Looked(_) => "Looked",
        Event::Exchanged(_) => "Exchanged",
        Event::Woke => "Woke",
        Event::Saved(..) => "Saved",
        Event::Confirmed(_) => "Confirmed",
        Event::KeysSaved(_) => "KeysSaved",
        Event::Secret(_) => "Secret",
    }
}
