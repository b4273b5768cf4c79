//! A component without a sailor, for the emulator's tests: it consumes on plain AMQP, and does what `body.op` of a
//! message says.

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
pub type Env = Box<dyn Fn(&str) -> String + Send + Sync>;

/// A connected component.
pub struct Component {
    env: Env,
    cipher: Cipher,
    channel: Channel,
    _connection: Connection,
}

impl Component {
    /// Connects to the broker.
    ///
    /// # Panics
    /// When a variable is missing, or there is no broker.
    pub async fn connect(env: Env) -> Self {
        http_double::choose_cryptography();
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
    ///
    /// # Panics
    /// When the broker or the platform refuses something, and when a message asks for it.
    pub async fn work(&self) {
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
        let plain = self
            .cipher
            .decrypt(&delivery.data, self.encoding())
            .unwrap();
        let message: Value = serde_json::from_slice(&plain).unwrap();
        let headers = delivery.properties.headers().clone().unwrap_or_default();
        let op = message["body"]["op"].as_str().unwrap_or("echo");
        self.do_op(op, &message["body"], headers, &delivery.data)
            .await;
        if op == "fail" {
            let options = BasicRejectOptions::default();
            delivery.reject(options).await.unwrap();
        } else {
            delivery.ack(BasicAckOptions::default()).await.unwrap();
        }
    }

    async fn do_op(&self, op: &str, body: &Value, headers: FieldTable, payload: &[u8]) {
        let data = |body: Value| json!({"body": body, "headers": {}});
        match op {
            "echo" => self.emit_data(headers, &data(body.clone())).await,
            "fail" => self.fail(headers, payload).await,
            "rebound" if headers.contains_key("reboundIteration") => {
                self.emit_data(headers, &json!({"body": "again"})).await;
            }
            "rebound" => self.rebound(headers, payload).await,
            "snapshot" => {
                let snapshot = json!({"a": 1, "b": 1});
                self.snapshot(headers, "snapshot", &snapshot).await;
            }
            "update snapshot" => {
                let delta = json!({"b": 2});
                self.snapshot(headers, "updateSnapshot", &delta).await;
            }
            "keys" => {
                let keys = json!({"accountId": "acc", "keys": {"token": "fresh"}});
                self.sealed("UPDATE_KEYS_ROUTING_KEY", headers, &keys).await;
            }
            "put keys" => self.put_keys().await,
            "reply" => self.reply(headers).await,
            "garbage" => {
                let key = (self.env)("DATA_ROUTING_KEY");
                self.publish(&key, headers, None, b"garbage").await;
            }
            "elsewhere" => {
                let body = self.seal(&json!({"body": "elsewhere"}));
                self.publish("some.other.key", headers, None, &body).await;
            }
            "crash" => panic!("crashed as told"),
            "hang" => std::future::pending().await,
            other => panic!("there is no op {other}"),
        }
    }

    async fn emit_data(&self, headers: FieldTable, message: &Value) {
        self.sealed("DATA_ROUTING_KEY", headers, message).await;
    }

    async fn fail(&self, headers: FieldTable, payload: &[u8]) {
        let report = ErrorReport::new("as told").encrypt(&self.cipher);
        let body = error_body(&report, Some((payload, self.encoding())));
        let key = (self.env)("ERROR_ROUTING_KEY");
        self.publish(&key, headers, None, &body).await;
    }

    async fn rebound(&self, mut headers: FieldTable, payload: &[u8]) {
        headers.insert("reboundIteration".into(), AMQPValue::LongInt(1));
        headers.insert("reboundReason".into(), text("not yet"));
        let expiration = Some((self.env)("REBOUND_INITIAL_EXPIRATION"));
        let key = (self.env)("REBOUND_ROUTING_KEY");
        self.publish(&key, headers, expiration, payload).await;
    }

    async fn put_keys(&self) {
        let url = (self.env)("API_URI") + "/v1/accounts/acc";
        let (user, key) = ((self.env)("API_USERNAME"), (self.env)("API_KEY"));
        let request = reqwest::Client::new()
            .put(url)
            .json(&json!({"keys": {"token": "fresh"}}))
            .basic_auth(user, Some(key));
        request.send().await.unwrap().error_for_status().unwrap();
    }

    async fn reply(&self, headers: FieldTable) {
        let Some(AMQPValue::LongString(key)) = headers.inner().get("reply_to").cloned() else {
            panic!("the message has no reply_to");
        };
        let body = self.seal(&json!({"statusCode": 201, "body": {}}));
        self.publish(&key.to_string(), headers, None, &body).await;
    }

    fn encoding(&self) -> Encoding {
        Encoding::of((self.env)("PROTOCOL_VERSION").parse().unwrap())
    }

    fn seal(&self, message: &Value) -> Vec<u8> {
        self.cipher
            .encrypt(message.to_string().into(), self.encoding())
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
        let body = self.seal(message);
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
