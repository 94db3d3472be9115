//! Turns the types of `k8s-openapi` into what the hub carries of them: a compact schema that type-checks and patches
//! objects (`schema.bin`), and compressed OpenAPI definitions with descriptions (`definitions.bin`).
//!
//! The type tree is a build-dependency here so that the hub itself does not link its schemas.

#[path = "build/aggregated.rs"]
mod aggregated;
#[path = "build/compact.rs"]
mod compact;
#[path = "build/definitions.rs"]
mod definitions;
#[path = "build/kinds.rs"]
mod kinds;
#[path = "build/merge_keys.rs"]
mod merge_keys;
#[path = "src/registry/schema/model.rs"]
mod model;
#[path = "src/registry/openapi/packages.rs"]
mod packages;
#[path = "build/proto_fields.rs"]
mod proto_fields;

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    for input in ["build.rs", "build", "src/registry/schema/model.rs", "src/registry/openapi/packages.rs"] {
        println!("cargo::rerun-if-changed={input}");
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut definitions = kinds::definitions();
    definitions.extend(aggregated::definitions());
    merge_keys::check(&definitions)?;
    let proto = proto_fields::ProtoFields::parse(&definitions)?;
    fs::write(out.join("schema.bin"), compact::encode(&definitions, &proto)?)?;
    fs::write(out.join("definitions.bin"), definitions::encode(&definitions)?)?;
    Ok(())
}
