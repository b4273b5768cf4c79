//! A component without a sailor: it consumes, and does what `body.op` of a message says.

use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    message::Delivery,
    options::*,
    types::{AMQPValue, FieldTable, LongString},
};
use sailor::protocol::{Cipher, Encoding, ErrorReport, error_body};
use serde_json::{Value, json};

/// Looks up one of the variables that the platform sets, without `ELASTICIO_`.
pub(crate) type Env = Box<dyn Fn(&str) -> String + Send + Sync>;

pub(crate) struct Component {
    env: Env,
    cipher: Cipher,
    channel: Channel,
    _connection: Connection,
}

impl Component {
    pub(crate) async fn connect(env: Env) -> Self {
        let cipher =
            Cipher::new(&env("MESSAGE_CRYPTO_PASSWORD"), &env("MESSAGE_CRYPTO_IV")).unwrap();
        let connection = Connection::connect(&env("AMQP_URI"), ConnectionProperties::default())
            .await
            .unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .unwrap();
        Self {
            env,
            cipher,
            channel,
            _connection: connection,
        }
    }

    /// Works until the queue or the connection is gone.
    pub(crate) async fn work(&self) {
        let prefetch = (self.env)("RABBITMQ_PREFETCH_SAILOR").parse().unwrap();
        self.channel
            .basic_qos(prefetch, BasicQosOptions::default())
            .await
            .unwrap();
        let queue = (self.env)("LISTEN_MESSAGES_ON");
        let options = BasicConsumeOptions::default();
        let mut consumer = self
            .channel
            .basic_consume(queue.into(), "".into(), options, FieldTable::default())
            .await
            .unwrap();
        while let Some(Ok(delivery)) = consumer.next().await {
            self.process(delivery).await;
        }
    }

    async fn process(&self, delivery: Delivery) {
        let encoding = Encoding::of((self.env)("PROTOCOL_VERSION").parse().unwrap());
        let plain = self.cipher.decrypt(&delivery.data, encoding).unwrap();
        let message: Value = serde_json::from_slice(&plain).unwrap();
        let headers = delivery.properties.headers().clone().unwrap_or_default();
        let rebounded = headers.contains_key("reboundIteration");
        let mut rejected = false;
        match message["body"]["op"].as_str().unwrap_or("echo") {
            "echo" => {
                self.sealed(
                    "DATA_ROUTING_KEY",
                    headers,
                    &json!({"body": message["body"], "headers": {}}),
                )
                .await;
            }
            "fail" => {
                let body = error_body(
                    &ErrorReport::new("as told").encrypt(&self.cipher),
                    Some((&delivery.data, encoding)),
                );
                self.publish(&(self.env)("ERROR_ROUTING_KEY"), headers, None, &body)
                    .await;
                rejected = true;
            }
            "rebound" if rebounded => {
                self.sealed("DATA_ROUTING_KEY", headers, &json!({"body": "again"}))
                    .await;
            }
            "rebound" => {
                let mut headers = headers;
                headers.insert("reboundIteration".into(), AMQPValue::LongInt(1));
                headers.insert("reboundReason".into(), text("not yet"));
                let expiration = Some((self.env)("REBOUND_INITIAL_EXPIRATION"));
                self.publish(
                    &(self.env)("REBOUND_ROUTING_KEY"),
                    headers,
                    expiration,
                    &delivery.data,
                )
                .await;
            }
            "snapshot" => {
                self.snapshot(headers, "snapshot", &json!({"a": 1, "b": 1}))
                    .await;
            }
            "update snapshot" => {
                self.snapshot(headers, "updateSnapshot", &json!({"b": 2}))
                    .await;
            }
            "keys" => {
                let keys = json!({"accountId": "acc", "keys": {"token": "fresh"}});
                self.sealed("UPDATE_KEYS_ROUTING_KEY", headers, &keys).await;
            }
            "put keys" => {
                let url = (self.env)("API_URI") + "/v1/accounts/acc";
                let request = reqwest::Client::new()
                    .put(url)
                    .json(&json!({"keys": {"token": "fresh"}}));
                let request =
                    request.basic_auth((self.env)("API_USERNAME"), Some((self.env)("API_KEY")));
                request.send().await.unwrap().error_for_status().unwrap();
            }
            "reply" => {
                let Some(AMQPValue::LongString(key)) = headers.inner().get("reply_to").cloned()
                else {
                    panic!()
                };
                let body = self.cipher.encrypt(
                    json!({"statusCode": 201, "body": {}}).to_string().into(),
                    encoding,
                );
                self.publish(&key.to_string(), headers, None, &body).await;
            }
            "garbage" => {
                self.publish(&(self.env)("DATA_ROUTING_KEY"), headers, None, b"garbage")
                    .await;
            }
            "elsewhere" => {
                let body = self
                    .cipher
                    .encrypt(json!({"body": "elsewhere"}).to_string().into(), encoding);
                self.publish("some.other.key", headers, None, &body).await;
            }
            "crash" => panic!("crashed as told"),
            "hang" => std::future::pending().await,
            other => panic!("no op {other}"),
        }
        if rejected {
            delivery
                .reject(BasicRejectOptions::default())
                .await
                .unwrap();
        } else {
            delivery.ack(BasicAckOptions::default()).await.unwrap();
        }
    }

    async fn snapshot(&self, mut headers: FieldTable, event: &str, snapshot: &Value) {
        headers.insert("snapshotEvent".into(), text(event));
        self.publish(
            &(self.env)("SNAPSHOT_ROUTING_KEY"),
            headers,
            None,
            snapshot.to_string().as_bytes(),
        )
        .await;
    }

    async fn sealed(&self, key: &str, headers: FieldTable, message: &Value) {
        let encoding = Encoding::of((self.env)("PROTOCOL_VERSION").parse().unwrap());
        let body = self.cipher.encrypt(message.to_string().into(), encoding);
        self.publish(&(self.env)(key), headers, None, &body).await;
    }

    async fn publish(
        &self,
        key: &str,
        headers: FieldTable,
        expiration: Option<String>,
        body: &[u8],
    ) {
        let properties = BasicProperties::default().with_headers(headers);
        let properties = expiration.into_iter().fold(properties, |p, expiration| {
            p.with_expiration(expiration.into())
        });
        let options = BasicPublishOptions {
            mandatory: true,
            ..Default::default()
        };
        let exchange = (self.env)("PUBLISH_MESSAGES_TO");
        let confirm = self
            .channel
            .basic_publish(exchange.into(), key.into(), options, body, properties)
            .await
            .unwrap();
        confirm.await.unwrap();
    }
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(text))
}
