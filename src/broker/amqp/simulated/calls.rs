//! What the client's types ask of the simulated network.

use super::{
    SimulatedBroker,
    frames::{Answer, Delivered, Publish, Request, Settlement},
    network::{Link, Sabotage, State, lost},
    observed::Observed,
    rules::ChannelId,
    session::ConfirmationReceiver,
};
use lapin::Error;
use std::{future::pending, io};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

impl SimulatedBroker {
    /// Connects as a user. `name` says what the connection is for.
    pub(super) async fn connect(&self, user: String, name: String) -> Result<u64, Error> {
        let pause = self.state().pause();
        sleep(pause).await;
        let is_unheard = {
            let state = self.state();
            state.is_dead(&user) || state.is_silent(&user, &name)
        };
        if is_unheard {
            pending::<()>().await;
        }
        let mut state = self.state();
        if state.refuses {
            return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into());
        }
        state.last_connection += 1;
        let id = state.last_connection;
        (state.observer)(Observed::Connected {
            connection: id,
            user: user.clone(),
            name: name.clone(),
        });
        state.links.insert(id, Link::new(user, name));
        drop(state);
        self.tasks.spawn(self.clone().move_frames(id));
        Ok(id)
    }

    /// Sends a request, and waits for its answer.
    pub(super) async fn ask(&self, id: ChannelId, request: Request) -> Result<Answer, Error> {
        let answer = {
            let mut state = self.state();
            let link = state.link(id.0)?;
            let answer = link.session.ask(id.1)?;
            if let Request::ConfirmSelect = request {
                link.session.select_confirms(id.1);
            }
            link.send(id.1, request, None);
            answer
        };
        answer.await.unwrap_or_else(|_| Err(lost()))
    }

    /// Opens a channel, and returns its number.
    pub(super) async fn open_channel(&self, connection: u64) -> Result<u16, Error> {
        let number = self.state().link(connection)?.session.open_channel()?;
        self.ask((connection, number), Request::OpenChannel).await?;
        Ok(number)
    }

    /// Sends a publish. Returns what resolves with its confirm.
    pub(super) async fn publish(
        &self,
        id: ChannelId,
        publish: Publish,
    ) -> Result<ConfirmationReceiver, Error> {
        let (written, sent) = oneshot::channel();
        let confirm = {
            let mut state = self.state();
            let sabotage = state.sabotage;
            let link = state.link(id.0)?;
            let confirm = link.session.publish(id.1)?;
            link.send(id.1, Request::Publish(Box::new(publish)), Some(written));
            if sabotage == Some(Sabotage::Confirm) {
                link.session.confirm_last(id.1);
            }
            confirm
        };
        sent.await.map_err(|_| lost())?;
        Ok(confirm)
    }

    /// Sends a verdict. Returns false if the channel is closed.
    pub(super) async fn settle(
        &self,
        id: ChannelId,
        delivery: u64,
        settlement: Settlement,
    ) -> Result<bool, Error> {
        let (written, sent) = oneshot::channel();
        if !self
            .state()
            .send_settlement(id, delivery, settlement, written)
        {
            return Ok(false);
        }
        sent.await.map_err(|_| lost())?;
        Ok(true)
    }

    pub(super) fn add_consumer(
        &self,
        id: ChannelId,
        tag: String,
    ) -> mpsc::UnboundedReceiver<Result<Delivered, Error>> {
        let (sender, deliveries) = mpsc::unbounded_channel();
        if let Some(link) = self.state().links.get_mut(&id.0) {
            link.session.add_consumer(id.1, tag, sender);
        }
        deliveries
    }

    /// The consumer gets no more deliveries.
    pub(super) fn remove_consumer(&self, id: ChannelId, tag: &str) {
        if let Some(link) = self.state().links.get_mut(&id.0) {
            link.session.remove_consumer(id.1, tag);
        }
    }

    pub(super) fn is_open(&self, connection: u64) -> bool {
        let state = self.state();
        let link = state.links.get(&connection);
        link.is_some_and(|link| link.session.is_open())
    }

    pub(super) fn is_channel_open(&self, id: ChannelId) -> bool {
        let state = self.state();
        let link = state.links.get(&id.0);
        link.is_some_and(|link| link.session.is_channel_open(id.1))
    }

    pub(super) fn listen(&self, connection: u64) -> mpsc::UnboundedReceiver<lapin::Event> {
        match self.state().links.get_mut(&connection) {
            Some(link) => link.session.listen(),
            None => mpsc::unbounded_channel().1,
        }
    }

    /// Nobody holds the connection any more: it is closed, and nobody waits for that.
    pub(super) fn abandon(&self, connection: u64) {
        if let Some(link) = self.state().links.get_mut(&connection)
            && link.session.is_open()
        {
            link.send(0, Request::CloseConnection, None);
            link.session.end(&lost());
        }
    }

    /// The client closes the connection.
    pub(super) async fn close(&self, connection: u64) -> Result<(), Error> {
        let closed = self.ask((connection, 0), Request::CloseConnection).await;
        if let Some(link) = self.state().links.get_mut(&connection) {
            link.session.end(&lost());
        }
        closed.map(|_| ())
    }
}

impl State {
    /// Returns false if the channel is closed.
    fn send_settlement(
        &mut self,
        id: ChannelId,
        delivery: u64,
        settlement: Settlement,
        written: oneshot::Sender<()>,
    ) -> bool {
        let Some(link) = self.links.get_mut(&id.0) else {
            return false;
        };
        if !link.session.is_channel_open(id.1) {
            return false;
        }
        link.send(id.1, Request::Settle(delivery, settlement), Some(written));
        let user = link.user.clone();
        if !self.is_dead(&user) {
            (self.observer)(Observed::SettlementSent {
                channel: id,
                delivery,
            });
        }
        true
    }
}
