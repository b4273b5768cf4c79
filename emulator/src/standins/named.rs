//! Stand-ins by name, for the command line: started with something in them, and told to the component.

use super::{graph::Graph, salesforce::Salesforce};
use crate::provider::Provider;
use std::io;

/// The stand-ins there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// Microsoft Graph: one user's mailbox
    Graph,
    /// Salesforce: one organisation
    Salesforce,
}

impl Name {
    /// The well-known provider whose tokens the service takes.
    pub(crate) fn preset(self) -> &'static str {
        match self {
            Self::Graph => "microsoft",
            Self::Salesforce => "salesforce",
        }
    }

    /// Starts it with what samples are about.
    pub(crate) async fn start(self, provider: &Provider) -> io::Result<Standin> {
        Ok(match self {
            Self::Graph => {
                let graph = Graph::start(provider).await?;
                graph.add_samples();
                Standin::Graph(graph)
            }
            Self::Salesforce => {
                let salesforce = Salesforce::start(provider).await?;
                salesforce.add_samples();
                Standin::Salesforce(salesforce)
            }
        })
    }
}

/// A stand-in that runs.
pub(crate) enum Standin {
    Graph(Graph),
    Salesforce(Salesforce),
}

impl Standin {
    /// The base of its paths.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Graph(graph) => graph.url(),
            Self::Salesforce(salesforce) => salesforce.url(),
        }
    }

    /// What it stands for.
    pub(crate) fn title(&self) -> &'static str {
        match self {
            Self::Graph(_) => "Microsoft Graph",
            Self::Salesforce(_) => "Salesforce",
        }
    }

    /// Its address, and the variables by which this repository's component for the service knows it and its provider.
    pub(crate) fn env(&self, provider: &Provider) -> Vec<(String, String)> {
        let (id, secret) = (
            provider.client_id().to_owned(),
            provider.client_secret().to_owned(),
        );
        let (authorize, token) = (provider.authorize_url(), provider.token_url());
        let own = match self {
            Self::Graph(graph) => vec![
                ("GRAPH_BASE_URL", graph.url()),
                ("MSAPP_CLIENT_ID", id),
                ("MSAPP_CLIENT_SECRET", secret),
                ("MSAPP_AUTH_URI", authorize),
                ("MSAPP_TOKEN_URI", token),
            ],
            // Where the API is, tokens tell.
            Self::Salesforce(_) => vec![
                ("SALESFORCE_KEY", id),
                ("SALESFORCE_SECRET", secret),
                ("SALESFORCE_AUTH_URI", authorize),
                ("SALESFORCE_TOKEN_URI", token),
            ],
        };
        let all = std::iter::once(("STANDIN_URL", self.url())).chain(own);
        all.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    pub(crate) async fn shutdown(&self) {
        match self {
            Self::Graph(graph) => graph.shutdown().await,
            Self::Salesforce(salesforce) => salesforce.shutdown().await,
        }
    }
}
