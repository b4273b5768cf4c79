//! OAuth2: the numbered cases of the project's catalogue, each under its number, against the emulator's provider over
//! real HTTP, with a clock that moves only when it is told to.

mod attack;
mod attack_engine;
mod basics;
mod bodies;
mod broker;
mod chaos;
mod components;
mod concurrency;
mod leaks;
mod process;
mod profiles;
mod provider;
mod redirects;
mod rejected;
mod replicas;
mod rig;
mod saving;
mod security;
mod time;
