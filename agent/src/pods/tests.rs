//! Tests of the pods.
