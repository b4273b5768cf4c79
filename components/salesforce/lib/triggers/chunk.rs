//! Records are emitted in chunks: what became of each is known before the next ones are emitted.

use sailor::NotEmitted;

/// The records of a chunk. A poll that fails has emitted no more than these behind the first that it has not.
const SIZE: usize = 100;

/// The next records, which are removed from `records`; none at the end.
pub fn next<T>(records: &mut Vec<T>) -> Option<Vec<T>> {
    let count = SIZE.min(records.len());
    let chunk: Vec<T> = records.drain(..count).collect();
    (!chunk.is_empty()).then_some(chunk)
}

/// What became of the records of a chunk.
pub struct Emitted<T> {
    pub emitted: Vec<T>,
    /// Those that can never be emitted, such as one that is too large.
    pub passed: Vec<(T, anyhow::Error)>,
    /// The first error of the others, which a later poll can emit.
    pub error: Option<anyhow::Error>,
}

impl<T> Emitted<T> {
    /// Sorts the records of a chunk by those that were not emitted.
    pub fn of(chunk: Vec<T>, mut failed: Vec<NotEmitted>) -> Self {
        let mut sorted = Self {
            emitted: vec![],
            passed: vec![],
            error: None,
        };
        failed.sort_by_key(|failed| failed.position);
        let mut failed = failed.into_iter().peekable();
        for (at, record) in chunk.into_iter().enumerate() {
            match failed.next_if(|failed| failed.position == at) {
                None => sorted.emitted.push(record),
                Some(failed) if failed.is_permanent => {
                    sorted.passed.push((record, failed.into_error()));
                }
                Some(failed) => {
                    sorted.error.get_or_insert(failed.into_error());
                }
            }
        }
        sorted
    }
}
