//! The steps of a counterexample as text.

use super::{
    super::{
        event::{Effect, Look},
        record::SharedToken,
    },
    process::{Reply, Work},
    record::Tokens,
    world::Action,
};
use crate::oauth2::Error;

pub(super) fn action(action: Action) -> String {
    match action {
        Action::Expire => "the access tokens expire".into(),
        Action::Wait => "ten minutes pass".into(),
        Action::Request(at) => format!("P{at} begins a request"),
        Action::Answer(at, _, true) => format!("the API rejects the valid token of P{at}"),
        Action::Answer(at, _, false) => format!("the API answers P{at}"),
        Action::Arrive(at, None) => format!("the work of P{at} is done"),
        Action::Arrive(at, Some(chance)) => format!("the work of P{at} meets {chance:?}"),
        Action::Deliver(at) => format!("P{at} gets its answer"),
        Action::Alarm(at) => format!("an alarm of P{at} goes off"),
        Action::ArriveLate(_) => "a request that nobody waits for arrives".into(),
        Action::Start(at) => format!("P{at} starts"),
        Action::Kill(at) => format!("P{at} is killed"),
        Action::Stop(at) => format!("P{at} is told to stop"),
        Action::End(at) => format!("P{at} ends"),
        Action::LoseLock(at) => format!("P{at} loses the lock"),
        Action::Emit(at, chance) => format!("a module of P{at} saves keys ({chance:?})"),
        Action::Account(chance) => format!("the account: {chance:?}"),
    }
}

pub(super) fn reply(work: Work, reply: &Reply) -> String {
    let work = match work {
        Work::Exchange(refresh) => format!("exchange of r{refresh}"),
        Work::Save(tokens) => format!("save of {tokens}"),
        Work::SaveKeys(Some(tokens)) => format!("save of keys with {tokens}"),
        Work::SaveKeys(None) => "save of keys".into(),
        work => format!("{work:?}"),
    };
    let reply = match reply {
        Reply::Looked(Look::Found(tokens, _)) => tokens.to_string(),
        Reply::Exchanged(tokens, _) => tokens.to_string(),
        Reply::Saved(Ok(()), _) => "saved".into(),
        reply => format!("{reply:?}"),
    };
    format!("    {work}: {reply}")
}

pub(super) fn effect(effect: &Effect<Tokens, ()>) -> String {
    match effect {
        Effect::Exchange((), base) => format!("exchange r{}", base.record.refresh),
        Effect::Save((), record, _) => format!("save {record}"),
        Effect::Share((), record) => format!("share {record}"),
        Effect::Revoke((), record) => format!("revoke {record}"),
        Effect::SaveKeys(_, Some(record)) => format!("save keys with {record}"),
        Effect::Answer(_, result) => format!("answer: {}", answer(result)),
        Effect::Inform(text) => format!("log: {text}"),
        Effect::Warn(_, code, text) => format!("log: {code}: {text}"),
        Effect::Report(report) => {
            let text = format!("{report:?}");
            let end = text.find([' ', '(', '{']).unwrap_or(text.len());
            format!("report {}", &text[..end])
        }
        Effect::Look(..) => "look".into(),
        Effect::Lock((), _) => "lock".into(),
        effect => format!("{effect:?}"),
    }
}

fn answer(result: &Result<SharedToken<Tokens>, Error>) -> String {
    match result {
        Ok(token) => format!("generation {} with {}", token.generation, token.record),
        Err(error) => error.to_string(),
    }
}
