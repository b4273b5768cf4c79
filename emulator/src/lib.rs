//! A local platform for components: REST API, object storage and AMQP broker on loopback.

pub mod platform;
