//! Getting a container's image, with a kubelet's events and words.

use std::time::Duration;

use skiff_shared::backoff::Backoff;
use skiff_shared::pod::{Container, Pod, PullPolicy};
use tokio::time::Instant;

use super::context::Context;
use super::logins;
use super::view::ImageFailure;
use crate::podman::{self, Image, Login};

/// Delays between tries (kubelet: 10 s doubling to 5 min).
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(10), max: Duration::from_secs(300) };

/// Finds the image or pulls it, as the pull policy says. `failures` is how often it failed before in a row.
pub(super) async fn ensure(
    ctx: &Context,
    pod: &Pod,
    container: &Container,
    failures: u32,
) -> Result<Image, ImageFailure> {
    let image = &container.image;
    let fail = |reason: &str, message: String| {
        let failures = failures.saturating_add(1);
        let delay = i64::try_from(BACKOFF.delay(failures).as_millis()).unwrap_or(i64::MAX);
        let at_ms = ctx.clock.now_ms();
        ImageFailure { reason: reason.to_owned(), message, at_ms, retry_ms: at_ms.saturating_add(delay), failures }
    };
    let event = |warning, reason: &str, message| ctx.pod_event(pod, &container.name, warning, reason, message);
    if !is_reference(image) {
        let message = format!(
            "Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": invalid reference format"
        );
        event(true, "InspectFailed", message.clone());
        event(true, "Failed", "Error: InvalidImageName".to_owned());
        return Err(fail("InvalidImageName", message));
    }
    let reference = with_tag(image);
    if container.pull_policy != PullPolicy::Always {
        match ctx.podman.image(&reference).await {
            Ok(Some(found)) => {
                event(false, "Pulled", format!("Container image \"{image}\" already present on machine"));
                return Ok(found);
            }
            Ok(None) if container.pull_policy == PullPolicy::Never => {
                let message = format!("Container image \"{image}\" is not present with pull policy of Never");
                event(true, "ErrImageNeverPull", message.clone());
                event(true, "Failed", "Error: ErrImageNeverPull".to_owned());
                return Err(fail("ErrImageNeverPull", message));
            }
            Ok(None) => {}
            Err(error) => {
                let message = format!("Failed to inspect image \"{image}\": {}", error.chain());
                event(true, "InspectFailed", message.clone());
                return Err(fail("ImageInspectError", message));
            }
        }
    }
    event(false, "Pulling", format!("Pulling image \"{image}\""));
    match pull(ctx, pod, &reference).await {
        Ok((found, alone, waiting)) => {
            let (alone, waiting) = (go_duration(alone), go_duration(waiting));
            let size = found.size_bytes;
            event(
                false,
                "Pulled",
                format!(
                    "Successfully pulled image \"{image}\" in {alone} ({waiting} including waiting). Image size: {size} bytes."
                ),
            );
            Ok(found)
        }
        Err(message) => {
            event(true, "Failed", format!("Failed to pull image \"{image}\": {message}"));
            event(true, "Failed", "Error: ErrImagePull".to_owned());
            Err(fail("ErrImagePull", message))
        }
    }
}

/// Pulls in turn; gives the image, the time of the pull and the time with the wait for the turn.
async fn pull(ctx: &Context, pod: &Pod, reference: &str) -> Result<(Image, Duration, Duration), String> {
    let asked = Instant::now();
    let _turn = ctx.pulls.acquire().await.map_err(|e| e.to_string())?;
    let began = Instant::now();
    let logins = logins::logins(pod, &ctx.desired.borrow().clone(), reference);
    pull_as(ctx, reference, &logins).await.map_err(|e| e.chain())?;
    let found = ctx.podman.image(reference).await.map_err(|e| e.chain())?;
    let found = found.ok_or_else(|| "the image was removed while it was pulled".to_owned())?;
    Ok((found, began.elapsed(), asked.elapsed()))
}

/// Pulls as the first of the registry's users that may, or as nobody where there are none.
async fn pull_as(ctx: &Context, reference: &str, logins: &[Login]) -> podman::Result<()> {
    let [others @ .., last] = logins else { return ctx.podman.pull(reference, None).await };
    for login in others {
        if ctx.podman.pull(reference, Some(login)).await.is_ok() {
            return Ok(());
        }
    }
    ctx.podman.pull(reference, Some(last)).await
}

/// The reference with the tag `latest` where it has neither tag nor digest.
fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') || last.contains('@') { image.to_owned() } else { format!("{image}:latest") }
}

/// Whether Podman could read this as an image reference: what is plainly none fails at once and for good.
fn is_reference(image: &str) -> bool {
    let (name, digest) = image.split_once('@').map_or((image, None), |(n, d)| (n, Some(d)));
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let (path, tag) = match name[slash..].rfind(':') {
        Some(at) => (&name[..slash + at], Some(&name[slash + at + 1..])),
        None => (name, None),
    };
    let tag_ok = tag.is_none_or(|t| {
        let word = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        (1..=128).contains(&t.len()) && t.bytes().all(word) && !t.starts_with(['.', '-'])
    });
    let digest_ok = digest.is_none_or(|d| d.split_once(':').is_some_and(|(a, h)| !a.is_empty() && h.len() >= 32));
    let parts: Vec<&str> = path.split('/').collect();
    let host = parts.len() > 1 && (parts[0].contains(['.', ':']) || parts[0] == "localhost");
    let part_ok = |(i, part): (usize, &&str)| {
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        if i == 0 && host {
            !part.starts_with('.') && part.bytes().all(|b| b.is_ascii_alphanumeric() || b".:-[]".contains(&b))
        } else {
            edge(part.bytes().next()) && edge(part.bytes().last()) && part.bytes().all(inner)
        }
    };
    tag_ok && digest_ok && path.len() <= 255 && parts.iter().enumerate().all(part_ok)
}

/// Go's way to print a duration cut to milliseconds: `12ms`, `1.2s`, `1m5.3s`.
fn go_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let mut seconds = format!("{}.{:03}", rest / 1000, rest % 1000);
    while seconds.ends_with('0') || seconds.ends_with('.') {
        let dot = seconds.ends_with('.');
        seconds.pop();
        if dot {
            break;
        }
    }
    if minutes == 0 { format!("{seconds}s") } else { format!("{minutes}m{seconds}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_told_from_nonsense() {
        for good in
            ["bb", "localhost/bb:1", "reg.example:5000/a/b-c_d:v1.2", "a@sha256:0123456789abcdef0123456789abcdef"]
        {
            assert!(is_reference(good), "{good}");
        }
        for bad in ["", "UPPER", "a//b", "a:", "a b", "-a", "a:t/", "../x", "a@x", "a:-t"] {
            assert!(!is_reference(bad), "{bad}");
        }
    }

    #[test]
    fn the_default_tag_is_latest() {
        for (image, full) in [("bb", "bb:latest"), ("h:5000/bb", "h:5000/bb:latest"), ("bb:1", "bb:1")] {
            assert_eq!(with_tag(image), full);
        }
    }

    #[test]
    fn durations_are_printed_as_go_does() {
        for (millis, text) in
            [(0, "0s"), (12, "12ms"), (1200, "1.2s"), (1000, "1s"), (65_300, "1m5.3s"), (10_000, "10s")]
        {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }
}
