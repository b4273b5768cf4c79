//! The integration tests, one binary. What needs a broker runs on the emulator's, and on the RabbitMQ that
//! `SAILOR_TEST_AMQP_URI` names, which `scripts/test` starts.

mod architecture;
mod author_api;
mod cli;
mod conformance;
mod demo;
mod descriptor_schema;
mod login;
mod oauth2;
mod process;
mod protocol;
mod references;
mod samples;
