//! Stand-ins for the APIs of well-known services, by name, for the command line. Each is a crate beside its component.

use crate::provider::{Provider, Trouble};
use graph_standin::Graph;
use salesforce_standin::Salesforce;
use std::io;

/// The names of the stand-ins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum StandinName {
    /// Microsoft Graph: one user's mailbox
    Graph,
    /// Salesforce: one organisation
    Salesforce,
}

impl StandinName {
    /// The provider preset whose tokens the service accepts.
    pub(crate) fn preset(self) -> &'static str {
        match self {
            Self::Graph => "microsoft",
            Self::Salesforce => "salesforce",
        }
    }

    /// The names of the variables that [`RunningStandin::env`] sets.
    pub(crate) fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Graph => &[
                "STANDIN_URL",
                "GRAPH_BASE_URL",
                "MSAPP_CLIENT_ID",
                "MSAPP_CLIENT_SECRET",
                "MSAPP_AUTH_URI",
                "MSAPP_TOKEN_URI",
            ],
            Self::Salesforce => &[
                "STANDIN_URL",
                "SALESFORCE_KEY",
                "SALESFORCE_SECRET",
                "SALESFORCE_AUTH_URI",
                "SALESFORCE_TOKEN_URI",
            ],
        }
    }

    /// Starts it with sample data.
    pub(crate) async fn start(self, provider: &Provider) -> io::Result<RunningStandin> {
        Ok(match self {
            Self::Graph => {
                let graph = Graph::start(provider).await?;
                graph.add_samples();
                RunningStandin::Graph(graph)
            }
            Self::Salesforce => {
                let salesforce = Salesforce::start(provider).await?;
                salesforce.add_samples();
                RunningStandin::Salesforce(salesforce)
            }
        })
    }
}

/// A running stand-in.
pub(crate) enum RunningStandin {
    Graph(Graph),
    Salesforce(Salesforce),
}

impl RunningStandin {
    /// What goes wrong with its responses from now on.
    pub(crate) fn set_trouble(&self, trouble: Trouble) {
        match self {
            Self::Graph(graph) => graph.set_trouble(trouble),
            Self::Salesforce(salesforce) => salesforce.set_trouble(trouble),
        }
    }

    /// The base of its paths.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Graph(graph) => graph.url(),
            Self::Salesforce(salesforce) => salesforce.url(),
        }
    }

    /// The service that it stands for.
    pub(crate) fn title(&self) -> &'static str {
        match self {
            Self::Graph(_) => "Microsoft Graph",
            Self::Salesforce(_) => "Salesforce",
        }
    }

    /// Environment variables: its address, and those from which this repository's component for the service reads the
    /// addresses of the API and of the provider.
    pub(crate) fn env(&self, provider: &Provider) -> Vec<(String, String)> {
        let client = [
            provider.client_id().to_owned(),
            provider.client_secret().to_owned(),
            provider.authorize_url(),
            provider.token_url(),
        ];
        let (name, addresses) = match self {
            Self::Graph(graph) => (StandinName::Graph, vec![graph.url(), graph.url()]),
            // The tokens contain the address of the API.
            Self::Salesforce(salesforce) => (StandinName::Salesforce, vec![salesforce.url()]),
        };
        let names = name.variables().iter().map(|name| (*name).to_owned());
        names.zip(addresses.into_iter().chain(client)).collect()
    }

    pub(crate) async fn shutdown(&self) {
        match self {
            Self::Graph(graph) => graph.shutdown().await,
            Self::Salesforce(salesforce) => salesforce.shutdown().await,
        }
    }
}
