//! The integration tests of the runtime, in one binary. They use the emulator's broker, and
//! also RabbitMQ if `SAILOR_TEST_AMQP_URI` is set, as `scripts/test` does.

mod architecture;
mod author_api;
mod compile_errors;
mod descriptor_schema;
mod generated;
mod lint;
mod oauth2;
mod pages;
mod protocol;
mod recipes;
mod references;
mod time_limits;
