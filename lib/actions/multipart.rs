//! A `multipart/form-data` body (RFC 7578), built in memory: it can be sent again after a refresh of the token.

use sailor::Attachment;

pub struct Multipart {
    boundary: String,
    bytes: Vec<u8>,
}

impl Multipart {
    pub fn new() -> Self {
        Self {
            boundary: format!("part-{}", uuid::Uuid::new_v4().simple()),
            bytes: Vec::new(),
        }
    }

    pub fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    /// The size so far, in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn field(&mut self, name: &str, value: &str) {
        let headers = disposition(name);
        self.part(&headers, value.as_bytes());
    }

    /// Adds a file. `name` is that of the part, such as `file`, and `file_name` that of the file, such as `invoice.pdf`.
    pub fn file(&mut self, name: &str, file_name: &str, file: &Attachment, content: &[u8]) {
        let is_printable = |content_type: &&str| {
            content_type
                .bytes()
                .all(|byte| (b' '..0x7f).contains(&byte))
        };
        let content_type = file.content_type.as_deref().filter(is_printable);
        let headers = format!(
            "{}; filename=\"{}\"\r\nContent-Type: {}",
            disposition(name),
            escaped(file_name),
            content_type.unwrap_or("application/octet-stream")
        );
        self.part(&headers, content);
    }

    fn part(&mut self, headers: &str, content: &[u8]) {
        let start = format!("--{}\r\n{headers}\r\n\r\n", self.boundary);
        self.bytes.extend_from_slice(start.as_bytes());
        self.bytes.extend_from_slice(content);
        self.bytes.extend_from_slice(b"\r\n");
    }

    pub fn finish(mut self) -> Vec<u8> {
        let end = format!("--{}--\r\n", self.boundary);
        self.bytes.extend_from_slice(end.as_bytes());
        self.bytes
    }
}

fn disposition(name: &str) -> String {
    format!("Content-Disposition: form-data; name=\"{}\"", escaped(name))
}

/// A name as browsers write it between quotes.
fn escaped(name: &str) -> String {
    name.replace('"', "%22")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}
