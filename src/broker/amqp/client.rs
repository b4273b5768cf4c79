//! The types of the client library that open and use connections. In the crate's own tests a connection can also be a
//! simulated one, which has the same methods.

#[cfg(not(test))]
pub(super) use super::guard::connect;
#[cfg(test)]
pub(super) use super::simulated::client::{
    Acker, Channel, Connection, Consumer, Delivery, PublisherConfirm, connect,
};
#[cfg(not(test))]
pub(super) use lapin::{Acker, Channel, Connection, Consumer, message::Delivery};
