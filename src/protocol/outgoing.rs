//! A message to emit, with its passthrough. It is written once: the message is in it twice if it is its own passthrough entry,
//! and large messages leave no memory for copies in between.

use super::envelope::Object;

/// A message to emit.
pub(crate) struct Outgoing {
    pub(crate) message: Object,
    /// What earlier steps emitted, by step. `None` writes none.
    passthrough: Option<Object>,
    /// The name of this step and its entry, after those of earlier steps.
    own: Option<(String, Object)>,
}

impl Outgoing {
    /// A message whose passthrough, if it has any, is one of its members.
    pub(crate) fn new(message: Object) -> Self {
        Self {
            message,
            passthrough: None,
            own: None,
        }
    }

    /// A message with this passthrough. If `step` is given, the message is the entry of that step.
    pub(crate) fn with_passthrough(
        message: Object,
        mut passthrough: Object,
        step: Option<&str>,
    ) -> Self {
        let own = match step {
            // A flow in which a step comes twice: the entry keeps its place.
            Some(step) if passthrough.get(step).is_some() => {
                passthrough.set(step, message.to_json());
                None
            }
            step => step.map(|step| (step.to_owned(), message.clone())),
        };
        Self {
            message,
            passthrough: Some(passthrough),
            own,
        }
    }

    /// Returns the length of all texts, without names: the least that [`Self::to_vec`] writes.
    pub(crate) fn least_len(&self) -> usize {
        self.parts().map(Object::least_len).sum()
    }

    fn parts(&self) -> impl Iterator<Item = &Object> {
        let own = self.own.as_ref().map(|(_, entry)| entry);
        let parts = [Some(&self.message), self.passthrough.as_ref(), own];
        parts.into_iter().flatten()
    }

    /// Returns the length of [`Self::to_vec`] without writing it.
    pub(crate) fn text_len(&self) -> usize {
        let mut length = self.message.text_len();
        let Some(passthrough) = &self.passthrough else {
            return length;
        };
        let comma = |object: &Object| usize::from(!object.is_empty());
        length += comma(&self.message) + br#""passthrough":"#.len() + passthrough.text_len();
        if let Some((step, entry)) = &self.own {
            let name = serde_json::to_string(step).map_or(0, |name| name.len());
            length += comma(passthrough) + name + 1 + entry.text_len();
        }
        length
    }

    /// Writes the message. The buffer has room for the padding of a cipher.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let Some(passthrough) = &self.passthrough else {
            return self.message.to_vec();
        };
        let mut text = Vec::with_capacity(self.parts().map(Object::size_hint).sum::<usize>() + 128);
        text.push(b'{');
        self.message.write_members(&mut text);
        comma_after(&self.message, &mut text);
        text.extend_from_slice(br#""passthrough":{"#);
        passthrough.write_members(&mut text);
        if let Some((step, entry)) = &self.own {
            comma_after(passthrough, &mut text);
            serde_json::to_writer(&mut text, step).expect("a text can be written as JSON");
            text.extend_from_slice(b":{");
            entry.write_members(&mut text);
            text.push(b'}');
        }
        text.extend_from_slice(b"}}");
        text
    }
}

fn comma_after(object: &Object, text: &mut Vec<u8>) {
    if !object.is_empty() {
        text.push(b',');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn object() -> impl Strategy<Value = Object> {
        prop::collection::hash_map("[a-c\"ü]{1,2}", any::<Option<i64>>(), 0..4).prop_map(
            |members: HashMap<_, _>| {
                Object::read(serde_json::to_vec(&members).unwrap().into()).unwrap()
            },
        )
    }

    proptest! {
        #[test]
        fn it_is_written_as_if_it_were_put_together(
            message in object(),
            mut passthrough in object(),
            step in prop::option::of("[a-c\"ü]{1,2}"),
        ) {
            let outgoing = Outgoing::with_passthrough(message.clone(), passthrough.clone(), step.as_deref());
            if let Some(step) = &step {
                passthrough.set(step, message.to_json());
            }
            let mut whole = message;
            whole.set("passthrough", passthrough.to_json());
            let text = outgoing.to_vec();
            prop_assert_eq!(String::from_utf8(text.clone()).unwrap(), String::from_utf8(whole.to_vec()).unwrap());
            prop_assert_eq!(outgoing.text_len(), text.len());
            prop_assert!(outgoing.least_len() <= text.len());
        }
    }
}
