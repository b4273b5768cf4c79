//! OAuth2 against the emulator's provider over real HTTP, mostly with a paused clock. Rules of parts, such as how a token
//! response is read, are tested in `src/oauth2/tests`.

mod account;
mod basics;
mod bodies;
mod broker;
mod budget;
mod capture;
mod chaos;
mod client_auth;
mod clock;
mod components;
mod concurrency;
mod default_lock;
mod double_spend;
mod emitted_keys;
mod end_of_process;
mod failed_refresh;
mod leaks;
mod panics;
mod process;
mod profiles;
mod provider;
mod redirects;
mod rejected;
mod rejected_often;
mod replicas;
mod reports;
mod rig;
mod saving;
mod security;
mod step;
mod streams;
mod time;
mod time_limits;
mod verify;
mod warnings;
