//! The audit log: one JSON line (`audit.k8s.io/v1` Event) per request, at the level that the configuration names.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use hyper::header::USER_AGENT;
use hyper::http::Extensions;
use hyper::{Request, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_shared::limits::MAX_REQUEST_BODY;
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, watch};

use super::auth::verb;
use super::request::RequestInfo;
use super::respond::{self, Body};
use crate::auth::Decision;
use crate::objects::{AuditAnnotations, User};
use crate::registry::schema::{Schema, decode_protobuf};

/// Lines that may wait for the disk; past that requests wait, as with apiserver's blocking mode, so that none is lost.
const MAX_WAITING: usize = 1024;

/// How much of each request is logged. Each level has all of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuditLevel {
    /// Who, what, when and the outcome.
    Metadata,
    /// And the request's body.
    Request,
    /// And the answer's body, where it is not a stream.
    RequestResponse,
}

impl AuditLevel {
    /// All levels, the lowest first.
    pub const ALL: [Self; 3] = [Self::Metadata, Self::Request, Self::RequestResponse];

    /// Its name in policies and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// Where the API puts its lines.
#[derive(Debug, Clone)]
pub struct AuditLog {
    level: AuditLevel,
    lines: mpsc::Sender<Vec<u8>>,
}

/// How much of the past is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditRotation {
    /// Bytes from which on a file is put aside as `FILE.1`, and a new one begun.
    pub max_bytes: u64,
    /// Files put aside that are kept (`FILE.1`, the newest, to `FILE.N`), at least 1.
    pub max_backups: u32,
}

/// The task that writes the lines to their file.
#[derive(Debug)]
pub struct AuditWriter {
    file: File,
    path: PathBuf,
    size: u64,
    rotation: AuditRotation,
    lines: mpsc::Receiver<Vec<u8>>,
}

impl AuditLog {
    /// Opens a file, made where it is missing, to append to.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn open(
        path: PathBuf,
        level: AuditLevel,
        rotation: AuditRotation,
    ) -> std::io::Result<(Self, AuditWriter)> {
        let file = open_file(&path).await?;
        let size = file.metadata().await?.len();
        let (sender, lines) = mpsc::channel(MAX_WAITING);
        Ok((Self { level, lines: sender }, AuditWriter { file, path, size, rotation, lines }))
    }
}

impl AuditWriter {
    /// Writes until shutdown, and then what still waits. A line that cannot be written is told in the hub's own log.
    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        loop {
            let line = tokio::select! {
                biased;
                line = self.lines.recv() => line,
                // A sender that is gone counts as shutdown too.
                _ = shutdown.wait_for(|stop| *stop) => break,
            };
            let Some(line) = line else { break };
            self.write(line).await;
        }
        while let Ok(line) = self.lines.try_recv() {
            self.write(line).await;
        }
    }

    async fn write(&mut self, mut lines: Vec<u8>) {
        while let Ok(more) = self.lines.try_recv() {
            lines.extend(more);
        }
        let length = lines.len() as u64;
        if self.size > 0
            && self.size + length > self.rotation.max_bytes
            && let Err(error) = self.rotate().await
        {
            tracing::error!(%error, path = %self.path.display(), "cannot put the audit log aside");
        }
        self.size += length;
        let written = match self.file.write_all(&lines).await {
            Ok(()) => self.file.flush().await,
            failed => failed,
        };
        if let Err(error) = written {
            tracing::error!(%error, path = %self.path.display(), "cannot write the audit log");
        }
    }
}

/// The object in a body, from JSON or protobuf.
fn object(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok().or_else(|| decode_protobuf(Schema::builtin(), body).ok())
}

impl AuditWriter {
    /// Puts the file aside, the older ones with it, and begins a new one; the oldest goes.
    async fn rotate(&mut self) -> std::io::Result<()> {
        for n in (1..=self.rotation.max_backups).rev() {
            match tokio::fs::rename(self.aside(n - 1), self.aside(n)).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        self.file = open_file(&self.path).await?;
        self.size = 0;
        Ok(())
    }

    /// The file that was put aside `n` times.
    fn aside(&self, n: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        if n > 0 {
            name.push(format!(".{n}"));
        }
        name.into()
    }
}

async fn open_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path).await
}

/// What is known of one request so far. It travels in the request's extensions.
#[derive(Debug, Clone)]
pub(crate) struct Record(Arc<Mutex<Known>>);

#[derive(Debug)]
struct Known {
    level: AuditLevel,
    event: Value,
    body: Option<Bytes>,
    annotations: AuditAnnotations,
}

impl Record {
    /// Begins the record of a request, and puts it into the request's extensions.
    pub(crate) fn begin<B>(
        log: Option<&AuditLog>,
        id: &str,
        request: &mut Request<B>,
        source: Option<IpAddr>,
        now: Timestamp,
    ) -> Option<Self> {
        let level = log?.level;
        let agent = request.headers().get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let mut event = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": level.as_str(), "auditID": id, "user": {},
            "requestURI": request.uri().path_and_query().map_or("/", |p| p.as_str()),
            "userAgent": agent, "requestReceivedTimestamp": micros(now),
        });
        if let Some(address) = source {
            event["sourceIPs"] = json!([address.to_string()]);
        }
        let record =
            Self(Arc::new(Mutex::new(Known { level, event, body: None, annotations: AuditAnnotations::default() })));
        request.extensions_mut().insert(record.clone());
        Some(record)
    }

    /// The record in a request's extensions.
    pub(crate) fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get::<Self>().cloned()
    }

    /// Adds what is asked for.
    pub(crate) fn about(&self, info: &RequestInfo) {
        let mut known = self.lock();
        known.event["verb"] = verb(info).into();
        let Some(path) = &info.resource else { return };
        let mut object = json!({"resource": path.resource, "apiVersion": path.version});
        let parts = [
            ("apiGroup", &path.group),
            ("namespace", &path.namespace),
            ("name", &path.name),
            ("subresource", &path.subresource),
        ];
        for (field, text) in parts.into_iter().filter(|(_, text)| !text.is_empty()) {
            object[field] = text.as_str().into();
        }
        known.event["objectRef"] = object;
    }

    /// Adds who asks.
    pub(crate) fn identify(&self, user: &User) {
        self.lock().event["user"] = shown(user);
    }

    /// Adds whom the one who asks acts as.
    pub(crate) fn impersonates(&self, user: &User) {
        self.lock().event["impersonatedUser"] = shown(user);
    }

    /// Adds what authorization says, and why.
    pub(crate) fn decided(&self, decision: &Decision) {
        let annotations = self.annotations();
        let word = if decision.allowed { "allow" } else { "forbid" };
        annotations.set("authorization.k8s.io/decision".to_owned(), word.to_owned());
        annotations.set("authorization.k8s.io/reason".to_owned(), decision.reason.clone());
    }

    /// Takes what the write path has to add.
    pub(crate) fn annotations(&self) -> AuditAnnotations {
        self.lock().annotations.clone()
    }

    /// Adds the request's body.
    pub(crate) fn request_body(&self, body: &Bytes) {
        if !body.is_empty() {
            self.lock().body = Some(body.clone());
        }
    }

    /// Ends the record: its line goes to the log. The answer comes back as it is.
    pub(crate) async fn end(self, log: &AuditLog, response: Response<Body>) -> Response<Body> {
        let (response, body) = self.answer_body(response).await;
        let line = self.line(response.status().as_u16(), body.as_deref(), Timestamp::now());
        if log.lines.send(line).await.is_err() {
            tracing::warn!("the audit log is closed");
        }
        response
    }

    /// The body of an answer that is there as a whole, where the level has it or it says what is wrong.
    async fn answer_body(&self, response: Response<Body>) -> (Response<Body>, Option<Bytes>) {
        let whole = response.body().size_hint().exact().is_some_and(|size| size <= MAX_REQUEST_BODY as u64);
        let wanted = self.lock().level >= AuditLevel::RequestResponse || is_error(response.status().as_u16());
        if !whole || !wanted {
            return (response, None);
        }
        let (parts, body) = response.into_parts();
        match body.collect().await {
            Ok(collected) => {
                let bytes = collected.to_bytes();
                (Response::from_parts(parts, respond::full(bytes.clone())), Some(bytes))
            }
            // A body of known size is in memory; there is nothing that could fail.
            Err(_) => (Response::from_parts(parts, respond::full(Bytes::new())), None),
        }
    }

    fn line(&self, code: u16, answer: Option<&[u8]>, now: Timestamp) -> Vec<u8> {
        let mut known = self.lock();
        let (level, annotations) = (known.level, known.annotations.all());
        let body = known.body.take();
        let event = &mut known.event;
        event["stage"] = if event["verb"] == "watch" { "ResponseStarted" } else { "ResponseComplete" }.into();
        event["stageTimestamp"] = micros(now).into();
        if !annotations.is_empty() {
            event["annotations"] = json!(annotations);
        }
        let unnamed =
            event["verb"] == "create" && event["objectRef"].is_object() && event["objectRef"]["name"].is_null();
        // A body of another kind (YAML, gzip) is left out, as apiserver leaves out what it cannot encode.
        let body = body.filter(|_| unnamed || level >= AuditLevel::Request).and_then(|body| object(&body));
        let answer = answer.and_then(object);
        if let Some(name) =
            body.as_ref().and_then(|b| b["metadata"]["name"].as_str()).filter(|n| unnamed && !n.is_empty())
        {
            event["objectRef"]["name"] = name.into();
        }
        event["responseStatus"] = outcome(code, answer.as_ref());
        for (field, body, from) in
            [("requestObject", body, AuditLevel::Request), ("responseObject", answer, AuditLevel::RequestResponse)]
        {
            if let Some(object) = body.filter(|_| level >= from) {
                event[field] = object;
            }
        }
        let mut line = event.to_string().into_bytes();
        line.push(b'\n');
        line
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_error(code: u16) -> bool {
    code >= 400
}

/// The outcome as a Status: of a refusal all that the client was told.
fn outcome(code: u16, answer: Option<&Value>) -> Value {
    let mut status = json!({"metadata": {}, "code": code});
    let told = answer.filter(|answer| is_error(code) && answer["kind"] == "Status");
    for field in ["status", "message", "reason", "details"] {
        if let Some(value) = told.and_then(|told| told.get(field)) {
            status[field] = value.clone();
        }
    }
    status
}

/// A user as audit events show it.
fn shown(user: &User) -> Value {
    let mut shown = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        shown["uid"] = user.uid.as_str().into();
    }
    if !user.extra.is_empty() {
        shown["extra"] = json!(user.extra);
    }
    shown
}

/// A time as `metav1.MicroTime` writes it.
fn micros(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use hyper::Method;

    use super::super::query::Query;
    use super::super::status::Status;
    use super::*;

    const KEEP: AuditRotation = AuditRotation { max_bytes: 1 << 20, max_backups: 1 };

    /// The line of a request with this body and answer at a level.
    async fn line(level: AuditLevel) -> (Value, Response<Body>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let (log, writer) = AuditLog::open(path.clone(), level, KEEP).await.unwrap();
        let uri = "/apis/apps/v1/namespaces/a/deployments?fieldManager=m";
        let mut request = Request::builder().uri(uri).header("user-agent", "curl/8").body(()).unwrap();
        let source = Some(IpAddr::from([192, 0, 2, 1]));
        let record = Record::begin(Some(&log), "id", &mut request, source, Timestamp::UNIX_EPOCH).unwrap();
        let info = RequestInfo::parse(&Method::POST, request.uri().path(), &Query::default());
        let user = User { name: "anna".into(), groups: vec!["ops".into()], ..User::default() };
        let same = Record::of(request.extensions()).unwrap();
        same.about(&info);
        same.identify(&user);
        same.impersonates(&User { name: "bert".into(), uid: "u".into(), ..User::default() });
        record.decided(&Decision { allowed: true, reason: "it is so".into() });
        record.request_body(&Bytes::from_static(br#"{"metadata":{"name":"web"}}"#));
        let answer = respond::bytes(201, respond::JSON, Bytes::from_static(br#"{"b":2}"#));
        let answer = record.end(&log, answer).await;
        drop(log);
        writer.run(watch::Sender::new(false).subscribe()).await;
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        (serde_json::from_str(&text).unwrap(), answer)
    }

    #[tokio::test]
    async fn a_line_has_what_its_level_says() {
        for level in AuditLevel::ALL {
            let (event, answer) = line(level).await;
            assert_eq!(event["level"], level.as_str());
            assert_eq!(event.get("requestObject").is_some(), level >= AuditLevel::Request);
            assert_eq!(event.get("responseObject").is_some(), level >= AuditLevel::RequestResponse);
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), br#"{"b":2}"#.as_slice());
        }
    }

    #[tokio::test]
    async fn a_full_file_is_put_aside_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let stop = watch::Sender::new(false).subscribe();
        for line in ["one\n", "two\n", "three\n", "4\n", "5\n"] {
            let rotation = AuditRotation { max_bytes: 5, max_backups: 2 };
            let (log, writer) = AuditLog::open(path.clone(), AuditLevel::Metadata, rotation).await.unwrap();
            log.lines.send(line.as_bytes().to_vec()).await.unwrap();
            drop(log);
            writer.run(stop.clone()).await;
        }
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).ok();
        let files = ["audit.log", "audit.log.1", "audit.log.2", "audit.log.3"].map(read);
        assert_eq!(files.each_ref().map(|f| f.as_deref()), [Some("4\n5\n"), Some("three\n"), Some("two\n"), None]);
    }

    #[tokio::test]
    async fn annotations_are_part_of_the_line() {
        let mut request = Request::builder().uri("/").body(()).unwrap();
        let (sender, _lines) = mpsc::channel(1);
        let log = AuditLog { level: AuditLevel::Metadata, lines: sender };
        let record = Record::begin(Some(&log), "id", &mut request, None, Timestamp::UNIX_EPOCH).unwrap();
        record.annotations().set("a".into(), "b".into());
        let event: Value = serde_json::from_slice(&record.line(200, None, Timestamp::UNIX_EPOCH)).unwrap();
        assert_eq!(event["annotations"], json!({"a": "b"}));
    }

    #[tokio::test]
    async fn a_line_says_why_a_request_was_refused() {
        let mut request = Request::builder().uri("/metrics").body(()).unwrap();
        let (sender, mut lines) = mpsc::channel(1);
        let log = AuditLog { level: AuditLevel::Metadata, lines: sender };
        let record = Record::begin(Some(&log), "id", &mut request, None, Timestamp::UNIX_EPOCH).unwrap();
        record.about(&RequestInfo::parse(&Method::POST, "/metrics", &Query::default()));
        record.decided(&Decision { allowed: false, reason: String::new() });
        let refusal = respond::refusal(&Status::new(403, "Forbidden", "no"));
        let told = record.end(&log, refusal).await.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(serde_json::from_slice::<Value>(&told).unwrap()["message"], "no");
        let event: Value = serde_json::from_slice(&lines.recv().await.unwrap()).unwrap();
        let status = json!({"metadata": {}, "status": "Failure", "message": "no", "reason": "Forbidden", "code": 403});
        let mut shown = event["responseStatus"].clone();
        shown.as_object_mut().unwrap().remove("details");
        assert_eq!((&event["verb"], shown, event.get("responseObject")), (&json!("post"), status, None));
        assert_eq!(event["annotations"]["authorization.k8s.io/decision"], "forbid");
    }

    #[tokio::test]
    async fn a_line_says_who_did_what() {
        let (mut event, _) = line(AuditLevel::Metadata).await;
        assert!(event["stageTimestamp"].take().is_string());
        assert_eq!(
            event,
            json!({
                "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "id",
                "stage": "ResponseComplete", "requestURI": "/apis/apps/v1/namespaces/a/deployments?fieldManager=m",
                "verb": "create", "user": {"username": "anna", "groups": ["ops"]}, "userAgent": "curl/8",
                "impersonatedUser": {"username": "bert", "groups": [], "uid": "u"}, "sourceIPs": ["192.0.2.1"],
                "objectRef": {"resource": "deployments", "apiGroup": "apps", "apiVersion": "v1", "namespace": "a", "name": "web"},
                "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": "it is so"},
                "responseStatus": {"metadata": {}, "code": 201},
                "requestReceivedTimestamp": "1970-01-01T00:00:00.000000Z", "stageTimestamp": null,
            })
        );
    }
}
