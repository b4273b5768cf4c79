//! What the broker tells about the step's queue, exchange, routing keys and rights, without a message.

use super::finding::{Finding, limited};
use crate::{
    broker::amqp::{Diagnosis, QueueState, WriteRight},
    settings::AmqpSettings,
};

/// What the platform calls a step's queues, by convention (wire-contract: Queues and bindings).
const INPUT: &str = ":messages";
const REBOUNDS: &str = ":rebounds";

/// The probes that need a connection.
const ON_CONNECTION: [&str; 3] = ["queue", "exchange", "rights"];

/// Probes the broker. The probes run side by side on one connection.
pub(super) async fn findings(
    amqp: &AmqpSettings,
    is_missing: impl Fn(&str) -> bool,
) -> Vec<Finding> {
    if is_missing("ELASTICIO_AMQP_URI") {
        return unreached("settings");
    }
    let connecting = async {
        Diagnosis::connect(&amqp.uri)
            .await
            .map_err(|e| e.to_string())
    };
    let broker = match limited(connecting).await {
        Ok(broker) => broker,
        Err(error) => {
            let remedy = "check that the broker runs and that ELASTICIO_AMQP_URI names it";
            let mut found = vec![Finding::failed("broker", &error, remedy)];
            found.extend(unreached("broker"));
            return found;
        }
    };
    let mut found = vec![Finding::ok(
        "broker",
        format!("connected to {}", broker.address),
    )];
    let queue = async {
        if is_missing("ELASTICIO_LISTEN_MESSAGES_ON") {
            return Finding::not_probed("queue", "settings");
        }
        queue(&broker, &amqp.queue).await
    };
    let exchange = async {
        if is_missing("ELASTICIO_PUBLISH_MESSAGES_TO") {
            let missing = |probe| Finding::not_probed(probe, "settings");
            return [missing("exchange"), missing("rights")];
        }
        let exchange = &amqp.exchange;
        tokio::join!(self::exchange(&broker, exchange), rights(&broker, exchange)).into()
    };
    let (queue, exchange, rebounds) = tokio::join!(queue, exchange, rebounds(&broker, &amqp.queue));
    found.push(queue);
    found.extend(exchange);
    found.extend(keys(rebounds));
    broker.close().await;
    found
}

fn unreached(first: &'static str) -> Vec<Finding> {
    let on_connection = ON_CONNECTION.map(|probe| Finding::not_probed(probe, first));
    on_connection.into_iter().chain(keys(None)).collect()
}

async fn queue(broker: &Diagnosis, name: &str) -> Finding {
    let asking = async { broker.queue(name).await.map_err(|e| e.to_string()) };
    let remedy =
        "check ELASTICIO_LISTEN_MESSAGES_ON; the platform declares the queue, the sailor does not";
    match limited(asking).await {
        Ok(QueueState { ready, consumers }) => {
            let found = format!("queue {name}: {ready} messages ready, {consumers} consumers");
            match (ready, consumers) {
                (_, 1..) => Finding::ok("queue", found),
                (0, 0) => Finding::warning(
                    "queue",
                    found,
                    "no process consumes it: if the step should run, see its log for why it has not started",
                ),
                (_, 0) => Finding::warning(
                    "queue",
                    found,
                    "messages wait, and no process consumes them: see the log of the step for why it has not started, or \
                     start it",
                ),
            }
        }
        Err(error) => Finding::failed("queue", &error, remedy),
    }
}

async fn exchange(broker: &Diagnosis, name: &str) -> Finding {
    let asking = async { broker.exchange(name).await.map_err(|e| e.to_string()) };
    let remedy = "check ELASTICIO_PUBLISH_MESSAGES_TO; the platform declares the exchange, the sailor does not";
    match limited(asking).await {
        Ok(()) => Finding::ok("exchange", format!("exchange {name} is there")),
        Err(error) => Finding::failed("exchange", &error, remedy),
    }
}

async fn rights(broker: &Diagnosis, exchange: &str) -> Finding {
    let user = &broker.address.user;
    let asking = async { broker.may_write(exchange).await.map_err(|e| e.to_string()) };
    let remedy = format!("give {user} the right to write to {exchange}");
    match limited(asking).await {
        Ok(WriteRight::Granted) => Finding::ok(
            "rights",
            format!(
                "{user} may log in, use the virtual host and write to {exchange}; whether it may read the queue cannot be \
                 told without consuming, and whether topic permissions allow its routing keys not without publishing"
            ),
        ),
        Ok(WriteRight::Refused(text)) => Finding::error("rights", text, remedy),
        Ok(WriteRight::Untold(text)) => Finding::unknown(
            "rights",
            format!(
                "the broker refuses a harmless request, and does not say which right is missing: {text}"
            ),
            format!("if {user} may write to {exchange}, this means nothing; else {remedy}"),
        ),
        // The finding about the exchange says what is wrong with it.
        Err(error) if error.contains("NOT_FOUND") => Finding::not_probed("rights", "exchange"),
        Err(error) => Finding::failed("rights", &error, &remedy),
    }
}

/// Returns whether the step's queue for rebounds is there, if its name follows from that of the input queue.
async fn rebounds(broker: &Diagnosis, input: &str) -> Option<(String, bool)> {
    let name = format!("{}{REBOUNDS}", input.strip_suffix(INPUT)?);
    let asking = async { broker.queue(&name).await.map_err(|e| e.to_string()) };
    let is_there = match limited(asking).await {
        Ok(_) => true,
        Err(error) if error.contains("NOT_FOUND") => false,
        Err(_) => return None,
    };
    Some((name, is_there))
}

/// AMQP tells what is bound to a key only to who publishes with it, and then the message is in the queue.
fn keys(rebounds: Option<(String, bool)>) -> [Finding; 4] {
    const UNTOLD: &str = "whether a queue is bound cannot be told without sending a message to it";
    let rebounds = match rebounds {
        Some((name, true)) => {
            format!("{UNTOLD}; the queue that the platform makes for it is there: {name}")
        }
        Some((name, false)) => {
            format!("{UNTOLD}; the queue that some platforms make for it is not there: {name}")
        }
        None => UNTOLD.to_owned(),
    };
    let ask = |key: &str| {
        format!(
            "look at the bindings of the exchange as an administrator, or in the log of the step for \"no queue is bound\": {key}"
        )
    };
    [
        Finding::unknown(
            "data key",
            UNTOLD,
            ask("the last step of a flow has no queue for it"),
        ),
        Finding::unknown(
            "error key",
            UNTOLD,
            ask("without a queue, error events are only in the log"),
        ),
        Finding::unknown(
            "rebound key",
            rebounds,
            ask("without a queue, rebounded messages fail"),
        ),
        Finding::unknown(
            "snapshot key",
            UNTOLD,
            ask("without a queue, snapshots are not stored"),
        ),
    ]
}
