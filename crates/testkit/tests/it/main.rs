//! The rigs themselves: a test that leans on them must be able to trust them.

mod oidc;
