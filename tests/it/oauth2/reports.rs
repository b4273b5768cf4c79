//! Everything that a process says about its credential, searched for secrets.

use super::{capture::Capture, rig::Rig};
use sailor::oauth2::Error;
use std::{
    cell::RefCell,
    fmt::{Debug, Write as _},
    sync::Once,
};

/// Everything that was reported: log, errors, warnings, metrics, `Debug` output and panics.
pub struct Reports {
    capture: Capture,
    text: String,
}

thread_local! {
    /// The panics of this thread.
    static PANICS: RefCell<String> = const { RefCell::new(String::new()) };
}

impl Reports {
    pub fn begin() -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                PANICS.with_borrow_mut(|panics| writeln!(panics, "{panic}").unwrap());
                before(panic);
            }));
        });
        PANICS.take();
        Self {
            capture: Capture::begin(),
            text: String::new(),
        }
    }

    pub fn see(&mut self, what: &dyn Debug) {
        writeln!(self.text, "{what:?}\n{what:#?}").unwrap();
    }

    pub fn result(&mut self, result: Result<(), Error>) {
        if let Err(error) = result {
            self.see(&error);
            writeln!(
                self.text,
                "{error}\n{:#}",
                anyhow::Error::from(error.clone())
            )
            .unwrap();
        }
    }

    pub fn all(&self) -> String {
        PANICS.with_borrow(|panics| [self.text.as_str(), &self.capture.text(), panics].join("\n"))
    }

    /// Asserts that no secret is revealed, not even half of one, and that `text` is reported.
    #[track_caller]
    pub fn check(&self, rig: &Rig, text: &str) {
        let (all, secrets) = (self.all(), rig.provider.secrets());
        assert!(all.contains(text), "{text:?} is not reported: {all}");
        assert!(secrets.len() > 3, "there are secrets to reveal");
        for secret in &secrets {
            assert!(
                !all.contains(secret.as_str()),
                "{secret} is revealed: {all}"
            );
            if secret.len() >= 32 {
                let (begin, end) = (&secret[..16], &secret[secret.len() - 16..]);
                assert!(
                    !all.contains(begin) && !all.contains(end),
                    "half of {secret} is revealed: {all}"
                );
            }
        }
    }
}
