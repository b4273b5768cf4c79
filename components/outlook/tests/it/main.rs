//! The Outlook component on the emulator: its functions in memory against the stand-in for Graph, and as processes with a
//! broker and a platform.

mod all_functions;
mod bad_items;
mod calendar;
mod connection;
mod contacts;
mod create_event;
mod credentials;
mod descriptor;
mod files;
mod functions;
mod lists;
mod mail;
mod move_mail;
mod process;
mod promise;
mod readme;
mod rig;
mod send_mail;
mod snapshots;
mod too_large;
