//! A small world for tests of controllers.
