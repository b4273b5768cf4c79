//! Checks what reads bytes from outside with arbitrary ones. Each module is a fuzz target of its name, or several, and says
//! what must be true of whatever is read.

pub mod answer;
pub mod challenge;
pub mod descriptor;
pub mod emulator;
pub mod guard;
pub mod message;
pub mod settings;
pub mod token;

/// Splits bytes at the first zero byte: a text, and what follows it.
fn split_text(data: &[u8]) -> (String, &[u8]) {
    let end = data.iter().position(|byte| *byte == 0);
    let (text, rest) = end.map_or((data, &[][..]), |end| (&data[..end], &data[end + 1..]));
    (String::from_utf8_lossy(text).into_owned(), rest)
}
