//! **aws_errors** — what an SDK failure means to us.
//!
//! Comes in: the error of a call and what was being done ("reading s3://bucket/key"). Goes out:
//! one [`StoreError`] with one sentence.
//!
//! The rule: only an answer that says "you may not" or "there is no such bucket" is a finding.
//! Everything that may be different a minute from now is `Unavailable`, so that it never counts
//! as knowledge.

use crate::ports::object_store::StoreError;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use std::error::Error;

/// Codes by which S3 and DynamoDB say that the caller may not (S3 "Error responses", DynamoDB
/// "Error handling").
const FORBIDDEN: [&str; 14] = [
    "AccessDenied",
    "AccessDeniedException",
    "AccountProblem",
    "AllAccessDisabled",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidSignatureException",
    "InvalidToken",
    "MissingAuthenticationToken",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
];
/// Codes by which they say that our clock is wrong.
const SKEWED: [&str; 2] = ["RequestTimeTooSkewed", "RequestExpired"];
/// Codes by which they say that the bucket or table is not there.
const MISSING: [&str; 2] = ["NoSuchBucket", "ResourceNotFoundException"];
/// Codes by which they say "not now".
const LATER: [&str; 14] = [
    "ConditionalRequestConflict",
    "InternalError",
    "InternalServerError",
    "OperationAborted",
    "ProvisionedThroughputExceededException",
    "ReplicatedWriteConflictException",
    "RequestLimitExceeded",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TransactionConflictException",
    "TransactionInProgressException",
];

/// The HTTP status and the error code of an answer; (0, "") if there was none.
pub fn status_and_code<E: ProvideErrorMetadata>(error: &SdkError<E>) -> (u16, &str) {
    let SdkError::ServiceError(service) = error else {
        return (0, "");
    };
    (service.raw().status().as_u16(), service.err().code().unwrap_or(""))
}

/// What a failed call means. `doing` begins the sentence: "reading s3://bucket/key".
pub fn meaning<E>(error: &SdkError<E>, doing: &str) -> StoreError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(service) => {
            let (status, code) = status_and_code(error);
            of_answer(status, code, service.err().message().unwrap_or(""), doing)
        }
        SdkError::TimeoutError(_) => StoreError::Unavailable(format!("{doing}: no answer in time")),
        SdkError::ConstructionFailure(_) | SdkError::DispatchFailure(_) => {
            of_dispatch(error, doing)
        }
        SdkError::ResponseError(_) => StoreError::Unavailable(format!(
            "{doing}: the answer broke off or can't be read ({})",
            root(error)
        )),
        error => StoreError::Unavailable(format!("{doing}: {}", DisplayErrorContext(error))),
    }
}

/// What an answer with this status, code and message means.
fn of_answer(status: u16, code: &str, message: &str, doing: &str) -> StoreError {
    let said = match (code, message) {
        ("", _) => format!("HTTP {status}"),
        (code, "") => code.to_owned(),
        (code, message) => format!("{code}, {}", message.trim_end_matches('.')),
    };
    if SKEWED.contains(&code) {
        return StoreError::Forbidden(format!(
            "{doing}: refused because this machine's clock is off; set it right ({said})"
        ));
    }
    if FORBIDDEN.contains(&code) || matches!(status, 401 | 403) {
        return StoreError::Forbidden(format!(
            "{doing}: the credentials in use do not allow it ({said})"
        ));
    }
    if MISSING.contains(&code) {
        return StoreError::Missing(format!("{doing}: it does not exist ({said})"));
    }
    if LATER.contains(&code) || status >= 500 || matches!(status, 408 | 429) {
        return StoreError::Unavailable(format!("{doing}: not now ({said})"));
    }
    StoreError::Bad(format!("{doing}: refused ({said})"))
}

/// What a call means that got no answer: an unreachable store, or no credentials to sign with.
fn of_dispatch(error: &(dyn Error + 'static), doing: &str) -> StoreError {
    let credentials = chain(error).find_map(|cause| cause.downcast_ref::<CredentialsError>());
    match credentials {
        Some(CredentialsError::CredentialsNotLoaded(_)) => StoreError::Forbidden(format!(
            "{doing}: no AWS credentials found; set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the instance a role"
        )),
        Some(CredentialsError::InvalidConfiguration(_)) => StoreError::Forbidden(format!(
            "{doing}: the AWS credentials are configured wrongly ({})",
            root(error)
        )),
        Some(other) => StoreError::Unavailable(format!(
            "{doing}: the AWS credentials can't be had now ({})",
            DisplayErrorContext(other)
        )),
        None => StoreError::Unavailable(format!(
            "{doing}: the store can't be reached ({})",
            root(error)
        )),
    }
}

/// The deepest cause, which says most in fewest words.
fn root(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_no_is_a_finding() {
        let meaning = |status, code| of_answer(status, code, "", "reading x");
        assert!(matches!(meaning(403, "SignatureDoesNotMatch"), StoreError::Forbidden(_)));
        assert!(matches!(meaning(400, "UnrecognizedClientException"), StoreError::Forbidden(_)));
        assert!(matches!(meaning(403, ""), StoreError::Forbidden(_)));
        assert!(matches!(meaning(404, "NoSuchBucket"), StoreError::Missing(_)));
        assert!(matches!(meaning(400, "ResourceNotFoundException"), StoreError::Missing(_)));
        assert!(matches!(meaning(503, "SlowDown"), StoreError::Unavailable(_)));
        assert!(matches!(meaning(400, "ThrottlingException"), StoreError::Unavailable(_)));
        assert!(matches!(meaning(500, "AnythingAtAll"), StoreError::Unavailable(_)));
        assert!(matches!(meaning(400, "ValidationException"), StoreError::Bad(_)));
    }

    #[test]
    fn a_wrong_clock_is_named() {
        let error = of_answer(403, "RequestTimeTooSkewed", "", "reading x");
        assert!(error.to_string().contains("clock"), "{error}");
    }
}
