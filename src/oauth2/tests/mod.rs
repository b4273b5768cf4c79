//! The parts, one by one. Tests whose name begins with `case_` are those of the OAuth2 research under that number.
