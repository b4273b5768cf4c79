//! The integration tests of the runtime and of the reference component, in one binary. They use the emulator's broker, and
//! also RabbitMQ if `SAILOR_TEST_AMQP_URI` is set, as `scripts/test` does.

mod architecture;
mod author_api;
mod cli;
mod descriptor_schema;
mod login;
mod oauth2;
mod process;
mod protocol;
mod references;
mod samples;
