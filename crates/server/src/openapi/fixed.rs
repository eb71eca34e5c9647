//! What stands in the document whatever the state are.

use serde_json::{Map, Value, json};

/// What the document says before it comes to the state.
pub(super) const ABOUT: &str = "jeton keeps every token of a company alive: the ones its software calls others with, and the service tokens \
    that programs come in with.\n\nEvery refusal is a problem (RFC 9457) with a stable `code`. One kind has no body: what HTTP \
    itself refuses before there is a request, such as headers beyond the limit (431) or bytes that are no HTTP (400). A \
    credential goes into one of three headers; two that differ in one request are refused.";

/// The parts of the document, in the order in which people read them.
pub(super) const TAGS: [(&str, &str); 8] = [
    ("connections", "The grants that jeton holds at providers."),
    ("tokens", "Living tokens of connections."),
    ("service-tokens", "Who may come in."),
    ("gateway", "Calls to the APIs of providers, with the token put in."),
    ("consent", "Pages on which people consent, and how far they have come."),
    ("diagnostics", "Answers in the shapes of the gateway that jeton replaces."),
    ("health", "Whether the process runs, and can do its work."),
    ("reference", "This document."),
];

/// The three headers that a credential may stand in.
pub(super) fn credentials() -> Value {
    let header = |name| json!({ "type": "apiKey", "in": "header", "name": name, "description": "A service token or the API key." });
    json!({
        "serviceToken": header("X-SERVICE-TOKEN"),
        "apiKey": header("X-API-KEY"),
        "bearer": { "type": "http", "scheme": "bearer", "description": "A service token or the API key." },
    })
}

/// The schema of every refusal.
pub(super) fn problem() -> Value {
    let text = |means: &str| json!({ "type": "string", "description": means });
    json!({
        "description": "Problem details (RFC 9457).",
        "type": "object",
        "additionalProperties": false,
        "required": ["type", "title", "status", "code", "detail"],
        "properties": {
            "type": { "type": "string", "pattern": "^urn:jeton:error:[A-Z_]+$", "description": "Made from the code." },
            "title": text("The kind of problem in words."),
            "status": { "type": "integer", "description": "The HTTP status." },
            "code": text("Stable: what programs decide by."),
            "detail": text("What happened, and the cure, in one sentence."),
            "retry_after": { "type": "integer", "minimum": 0, "description": "After how many seconds asking again may help." },
            "class": text("What kind of failure it was at the provider."),
            "provider_code": text("The code of the failure at the provider."),
            "attempt": { "type": "string", "format": "uuid", "description": "The attempt whose outcome is not known." },
            "service": text("The service whose credential it was."),
            "missing_scope": text("The scope that would do."),
            "error": {
                "type": "object",
                "description": "Code and detail once more, where clients of older gateways read them.",
                "required": ["code", "detail"],
                "properties": { "code": { "type": "string" }, "detail": { "type": "string" } },
            },
        },
    })
}

/// The state of the gateway, which is mounted beside these.
pub(super) const PROXY: &str = "/api/v1/proxy/{connection}/{path}";

pub(super) fn proxy() -> Map<String, Value> {
    let one = |method: &str| {
        let parameter = |name: &str, schema: Value, means: &str| json!({ "name": name, "in": "path", "required": true, "description": means, "schema": schema });
        let name = json!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,63}$" });
        let operation = json!({
            "tags": ["gateway"],
            "operationId": format!("call{method}"),
            "summary": "Calls the API of a provider with the token put in.",
            "description": "RequiredScope for the scope `proxy:NAME`, which may be limited to methods and paths. Every method goes through but \
                CONNECT and TRACE; query, headers and body go on as they come, without the credential of the caller. A token \
                that the API refuses is refreshed, and the call made once more.",
            "security": (["serviceToken", "apiKey", "bearer"].map(|scheme| json!({ scheme: ["proxy:NAME"] }))),
            "parameters": [
                parameter("connection", name, "The name of a connection."),
                parameter("path", json!({ "type": "string" }), "The path at the API, which may have any number of segments."),
            ],
            "responses": {
                "default": {
                    "description": "The answer of the API, as it is. An answer of jeton itself has the header X-Jeton-Error, and is a \
                        problem as at the other URLs.",
                    "headers": {
                        "X-Jeton-Error": {
                            "description": "The code of the problem; absent where the answer is that of the API.",
                            "schema": { "type": "string" },
                        },
                    },
                },
            },
        });
        (method.to_ascii_lowercase(), operation)
    };
    ["Get", "Head", "Post", "Put", "Patch", "Delete", "Options"].into_iter().map(one).collect()
}
