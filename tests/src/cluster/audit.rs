//! Requests counted from the API server's audit log.

use fake_kube::Request;
use serde_json::Value;

/// All requests of `account`, a user name as the API server writes it.
pub(super) fn requests(account: &str) -> Vec<Request> {
    let path = std::env::var_os(super::AUDIT_LOG)
        .unwrap_or_else(|| panic!("{} names no audit log of the API server", super::AUDIT_LOG));
    let log = std::fs::read(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    parse(&String::from_utf8_lossy(&log), account)
}

fn parse(log: &str, account: &str) -> Vec<Request> {
    let mut seen = std::collections::HashSet::new();
    let events = log.lines().filter(|line| line.contains(account)).filter_map(|line| serde_json::from_str(line).ok());
    // A watch or a log that is followed stands there twice: when it began and when it ended.
    let events = events.filter(|event: &Value| {
        event["user"]["username"] == account && seen.insert(event["auditID"].as_str().map(str::to_owned))
    });
    events.map(|event| request(&event)).collect()
}

fn request(event: &Value) -> Request {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let uri = text(&event["requestURI"]);
    let (path, query) = uri.split_once('?').unwrap_or((&uri, ""));
    let method = match event["verb"].as_str() {
        Some("create") => "POST",
        Some("update") => "PUT",
        Some("patch") => "PATCH",
        Some("delete" | "deletecollection") => "DELETE",
        _ => "GET",
    };
    Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        status: event["responseStatus"]["code"].as_u64().and_then(|code| code.try_into().ok()).unwrap_or(0),
        at: text(&event["requestReceivedTimestamp"]),
        agent: text(&event["userAgent"]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_followed_log_is_one_request_and_other_accounts_do_not_count() {
        let event = |id: &str, user: &str, verb: &str, uri: &str| {
            json!({"auditID": id, "user": {"username": user}, "verb": verb, "requestURI": uri,
                "responseStatus": {"code": 200}})
            .to_string()
        };
        let log = [
            event("1", "us", "get", "/api/v1/namespaces/n/pods/p/log?follow=true"),
            event("2", "them", "list", "/api/v1/pods?for=us"),
            event("3", "us", "create", "/api/v1/namespaces/n/pods"),
            event("1", "us", "get", "/api/v1/namespaces/n/pods/p/log?follow=true"),
            "{\"torn".to_owned(),
        ];
        let requests = super::parse(&log.join("\n"), "us");
        let told: Vec<_> = requests.iter().map(|r| (r.method.as_str(), r.path.as_str(), r.status)).collect();
        assert_eq!(told, [("GET", "/api/v1/namespaces/n/pods/p/log", 200), ("POST", "/api/v1/namespaces/n/pods", 200)]);
    }
}
