//! Pod specs: defaults and validation, shared by pods and by everything that has a pod template.

mod containers;
mod defaults;
mod env;
mod probes;
mod resources;
mod scheduling;
mod security;
mod validate;
mod volumes;

pub(crate) use containers::protocol;
pub(crate) use defaults::{default_pod_only, default_spec};
pub(crate) use probes::port_or_name;
pub(crate) use resources::{
    canonical, parse as parse_quantity, qos_class, quantity, requirements, resource_list, resource_name,
};
pub(crate) use scheduling::{taint_effect, tolerations};
pub(crate) use validate::{differences, image_whitespace, pod_update, spec, template, template_metadata};
