//! OAuth2: the numbered cases of the project's catalogue, each under its number, against the emulator's provider over
//! real HTTP, with a clock that moves only when it is told to.

mod basics;
mod rejected;
mod rig;
mod saving;
