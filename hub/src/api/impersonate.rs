//! `Impersonate-*` headers: acting as someone else, where that is allowed.

use std::collections::BTreeMap;

use hyper::HeaderMap;

use super::auth::{authenticated, check};
use super::query::decode;
use super::status::Status;
use crate::auth::tokens::{ACCOUNT_PREFIX, groups};
use crate::auth::{ANONYMOUS, AUTHENTICATED, Attributes, UNAUTHENTICATED};
use crate::objects::{Objects, User};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";

/// Whom a request acts as: the user itself without such headers.
///
/// # Errors
/// 403 when the user may not impersonate that user, one of the groups, the uid or an extra; 400 when no user is named.
pub(crate) fn impersonated(user: User, headers: &HeaderMap, objects: &Objects) -> Result<User, Status> {
    let Some(wanted) = asked(headers)? else { return Ok(user) };
    if wanted.name.is_empty() {
        return Err(nobody(&wanted));
    }
    let may = |group, resource, subresource, namespace, name| {
        let wanted =
            Attributes { verb: "impersonate", group, resource, subresource, namespace, name, ..Attributes::default() };
        check(&user, &wanted, objects)
    };
    let account = account(&wanted.name);
    match account {
        Some((namespace, name)) => may("", "serviceaccounts", "", namespace, name)?,
        None => may("", "users", "", "", &wanted.name)?,
    }
    wanted.groups.iter().try_for_each(|group| may("", "groups", "", "", group))?;
    if !wanted.uid.is_empty() {
        may(AUTHENTICATION, "uids", "", "", &wanted.uid)?;
    }
    for (key, values) in &wanted.extra {
        values.iter().try_for_each(|value| may(AUTHENTICATION, "userextras", key, "", value))?;
    }
    let default_groups = account.filter(|_| wanted.groups.is_empty()).map(|(namespace, _)| groups(namespace));
    let mut becomes = User { groups: default_groups.unwrap_or(wanted.groups), ..wanted };
    let has = |group: &str| becomes.groups.iter().any(|g| g == group);
    if becomes.name == ANONYMOUS {
        if !has(UNAUTHENTICATED) && !has(AUTHENTICATED) {
            becomes.groups.push(UNAUTHENTICATED.to_owned());
        }
        return Ok(becomes);
    }
    Ok(if has(UNAUTHENTICATED) { becomes } else { authenticated(becomes) })
}

/// The user that the headers describe; `None` without any.
fn asked(headers: &HeaderMap) -> Result<Option<User>, Status> {
    let text = |value: &hyper::header::HeaderValue| {
        let wrong = || Status::bad_request("an Impersonate header holds no text");
        value.to_str().map(str::to_owned).map_err(|_| wrong())
    };
    let mut user = User { name: one(headers, USER)?, uid: one(headers, UID)?, ..User::default() };
    for group in headers.get_all(GROUP) {
        user.groups.push(text(group)?);
    }
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (header, value) in headers {
        if let Some(key) = header.as_str().strip_prefix(EXTRA) {
            extra.entry(decode(key, false)).or_default().push(text(value)?);
        }
    }
    user.extra = extra;
    Ok(Some(user).filter(|user| *user != User::default()))
}

/// The refusal of groups, extras and a uid of nobody: the text is apiserver's, which shows references as Go prints them
/// and calls the mistake its own (500).
fn nobody(wanted: &User) -> Status {
    const VERSION: &str = "authentication.k8s.io/v1";
    let groups = wanted.groups.iter().map(|group| format!("{{Group  {group}    }}"));
    let extra = wanted
        .extra
        .iter()
        .flat_map(|(key, values)| values.iter().map(move |value| format!("{{UserExtra  {value}  {VERSION}  {key}}}")));
    let uid = Some(&wanted.uid).filter(|uid| !uid.is_empty()).map(|uid| format!("{{UID  {uid}  {VERSION}  }}"));
    let requested = groups.chain(extra).chain(uid).collect::<Vec<_>>().join(" ");
    Status::bad_request(format!("requested [{requested}] without impersonating a user"))
}

fn one(headers: &HeaderMap, name: &str) -> Result<String, Status> {
    let wrong = |_| Status::bad_request("an Impersonate header holds no text");
    headers.get(name).map_or(Ok(String::new()), |v| v.to_str().map(str::to_owned).map_err(wrong))
}

/// Namespace and name of a service account's user name.
fn account(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(ACCOUNT_PREFIX)?
        .split_once(':')
        .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty())
}
