//! Every function of the component against the emulator's stand-in for Salesforce.

mod all_functions;
mod bulk;
mod calls;
mod connection;
mod csv_files;
mod invalid_input;
mod lookups;
mod models;
mod poll_trouble;
mod polling;
mod process;
mod queries;
mod records;
mod refresh;
mod refusals;
mod rig;
mod samples;
mod snapshots;
mod wide_objects;
