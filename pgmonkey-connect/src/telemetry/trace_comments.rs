//! The current trace, appended to texts that are not cached (`sqlcommenter`).

use std::borrow::Cow;

use pgmonkey_config::StatementSettings;

use crate::Error;

/// Refuses what this build cannot do.
///
/// # Errors
///
/// [`Error::Unsupported`] naming the key.
pub(crate) fn check(settings: &StatementSettings) -> Result<(), Error> {
    if settings.sqlcommenter && cfg!(not(feature = "otel")) {
        return Err(Error::Unsupported {
            what: "sqlcommenter: true".to_owned(),
            advice: "the current trace is OpenTelemetry's: build with the feature otel",
        });
    }
    Ok(())
}

/// Appends the `traceparent` of OpenTelemetry's current context, if it has a span.
#[cfg(feature = "otel")]
pub(super) fn commented(text: &str) -> Cow<'_, str> {
    use opentelemetry::Context;
    use opentelemetry::trace::TraceContextExt;

    Context::map_current(|context| {
        let span = context.span();
        let span = span.span_context();
        if !span.is_valid() {
            return Cow::Borrowed(text);
        }
        let (trace, parent) = (span.trace_id(), span.span_id());
        let flags = span.trace_flags().to_u8();
        crate::sql::trace::with(text, &format!("00-{trace}-{parent}-{flags:02x}"))
    })
}

#[cfg(not(feature = "otel"))]
pub(super) fn commented(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}
