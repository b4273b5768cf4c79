//! Every function of the component against the emulator's stand-in for Salesforce.

mod attacks;
mod bulk;
mod calls;
mod defects;
mod every;
mod lookups;
mod models;
mod polling;
mod process;
mod queries;
mod records;
mod rig;
mod samples;
mod wrong;
