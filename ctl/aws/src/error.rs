//! What went wrong, sorted by what it means for whoever asked. Always: AWS's own code, reason and
//! request id are kept; what may have been sent and not answered is told apart from what was
//! refused (SAFETY R4); a monitor can tell "wrong" from "not known".

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::RequestId;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

/// Most bytes of a reason that are kept.
const REASON_BYTES_MAX: usize = 400;

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What it means.
    pub kind: Kind,
    /// What was being done, such as `replace the route`.
    pub doing: &'static str,
    /// To what: an id, or several.
    pub object: String,
    /// AWS's code.
    pub code: Option<String>,
    /// AWS's own reason, or that of the connection.
    pub message: String,
    /// By which AWS finds the call.
    pub request: Option<String>,
    /// How far the call came.
    fate: Fate,
}

/// What an error means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such VPC.
    VpcNotFound,
    /// There is no such network interface.
    EniNotFound,
    /// There is no such allocation of an address.
    AllocationNotFound,
    /// The association of an address is no more.
    AssociationNotFound,
    /// There is no such route table.
    RouteTableNotFound,
    /// The table has no such route.
    RouteMissing,
    /// There is no such instance.
    InstanceNotFound,
    /// There is no such availability zone in this region.
    InvalidAz,
    /// There is no such table of items.
    TableNotFound,
    /// No answer in time.
    Timeout,
    /// The server can't be reached, or the connection broke.
    Unreachable,
    /// There are no credentials, or AWS does not know them.
    Credentials,
    /// No region is set and none was found.
    NoRegion,
    /// The credentials may not do this.
    Denied,
    /// Too many calls of this account.
    Throttled,
    /// The clock of this host is wrong.
    ClockSkew,
    /// It is not in the state that the call assumes.
    Conflict(Conflict),
    /// AWS's own failure, or what stands in its place did not answer as AWS does.
    Server {
        /// Status of HTTP; 0 when there was none.
        status: u16,
    },
    /// Anything else that AWS refused.
    Other,
}

/// What was in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The address belongs to somebody, and was not to be taken.
    AlreadyAssociated,
    /// The item is not as it was.
    Condition,
    /// The instance can't go from its state to the wanted one.
    State,
    /// It is there already.
    Exists,
    /// Another change of the same is under way.
    Busy,
}

/// How far a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It was never sent.
    Unsent,
    /// AWS has refused it.
    Refused,
    /// It may have taken effect, or may yet.
    Open,
}

/// What a monitor makes of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// AWS has answered, and what is watched is not there.
    Wrong,
    /// Nothing was learned of what is watched.
    Unknown,
}

impl Error {
    /// Whether a call that changes something may have taken effect, or may yet do so.
    pub fn outcome_is_unknown(&self) -> bool {
        self.fate == Fate::Open
    }

    /// What a monitor makes of it.
    pub fn verdict(&self) -> Verdict {
        match self.kind {
            Kind::VpcNotFound
            | Kind::EniNotFound
            | Kind::AllocationNotFound
            | Kind::AssociationNotFound
            | Kind::RouteTableNotFound
            | Kind::RouteMissing
            | Kind::InstanceNotFound
            | Kind::InvalidAz
            | Kind::TableNotFound => Verdict::Wrong,
            _ => Verdict::Unknown,
        }
    }

    /// Whether the same call may succeed later without anybody's doing.
    pub fn may_pass(&self) -> bool {
        matches!(
            self.kind,
            Kind::Timeout
                | Kind::Unreachable
                | Kind::Throttled
                | Kind::Server { .. }
                | Kind::Conflict(Conflict::Busy)
        )
    }

    /// An error that this crate found before anything was sent.
    pub(crate) fn unsent(
        kind: Kind,
        doing: &'static str,
        object: &str,
        message: impl fmt::Display,
    ) -> Error {
        Error {
            kind,
            doing,
            object: object.to_owned(),
            code: None,
            message: cut(message.to_string()),
            request: None,
            fate: Fate::Unsent,
        }
    }

    /// AWS answered, and the answer lacks what was asked for.
    pub(crate) fn missing(kind: Kind, doing: &'static str, object: &str, what: &str) -> Error {
        Error { fate: Fate::Refused, ..Error::unsent(kind, doing, object, what) }
    }

    /// The same error, where the call says more than the code.
    pub(crate) fn sorted_as(self, kind: Kind) -> Error {
        Error { kind, ..self }
    }

    /// No answer within the call's own deadline.
    pub(crate) fn late(doing: &'static str, object: &str, limit: Duration) -> Error {
        let message = format!("no answer within {} ms", limit.as_millis());
        Error { fate: Fate::Open, ..Error::unsent(Kind::Timeout, doing, object, message) }
    }

    /// An error of the SDK.
    pub(crate) fn of<E>(doing: &'static str, object: &str, error: &SdkError<E>) -> Error
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let request = error.request_id().map(str::to_owned);
        let reason = chain(error);
        let base = Error::unsent(Kind::Other, doing, object, &reason);
        let status = error.raw_response().map_or(0, |raw| raw.status().as_u16());
        match error {
            SdkError::ConstructionFailure(_) => of_source(base, error),
            SdkError::TimeoutError(_) => Error { kind: Kind::Timeout, fate: Fate::Open, ..base },
            SdkError::DispatchFailure(failure) if failure.is_timeout() => {
                Error { kind: Kind::Timeout, fate: Fate::Open, ..base }
            }
            SdkError::DispatchFailure(_) => {
                let fate = if was_refused(error) { Fate::Unsent } else { Fate::Open };
                of_source(Error { kind: Kind::Unreachable, fate, ..base }, error)
            }
            SdkError::ServiceError(failure) => {
                let (code, message) = (failure.err().code(), failure.err().message());
                let known = code.map(|code| kind_of(code, message.unwrap_or("")));
                let kind = match known {
                    None => Kind::Server { status },
                    Some(Kind::Other) if status >= 500 => Kind::Server { status },
                    Some(kind) => kind,
                };
                let fate = if status >= 500 { Fate::Open } else { Fate::Refused };
                let fate = if kind == Kind::Throttled { Fate::Refused } else { fate };
                let plain = message.map_or(reason, str::to_owned);
                let code = code.map(str::to_owned);
                Error { kind, code, message: cut(plain), request, fate, ..base }
            }
            // The answer is there and makes no sense.
            _ => Error { kind: Kind::Server { status }, request, fate: Fate::Open, ..base },
        }
    }
}

/// Missing credentials look like a broken connection; nothing was sent then.
fn of_source(base: Error, error: &(dyn StdError + 'static)) -> Error {
    match find::<CredentialsError>(error) {
        Some(_) => Error { kind: Kind::Credentials, fate: Fate::Unsent, ..base },
        None => base,
    }
}

/// The sorted meaning of AWS's codes; both services, and both spellings where AWS has two.
pub(crate) fn kind_of(code: &str, message: &str) -> Kind {
    let says = |part: &str| message.to_ascii_lowercase().contains(part);
    let skewed = says("signature expired") || says("not yet current") || says("timestamp");
    match code {
        "InvalidVpcID.NotFound" | "InvalidVpcID.Malformed" | "InvalidVpcId.Malformed" => {
            Kind::VpcNotFound
        }
        "InvalidNetworkInterfaceID.NotFound" | "InvalidNetworkInterfaceId.Malformed" => {
            Kind::EniNotFound
        }
        "InvalidAllocationID.NotFound" | "InvalidAllocationID.Malformed" => {
            Kind::AllocationNotFound
        }
        "InvalidAssociationID.NotFound" => Kind::AssociationNotFound,
        "InvalidRouteTableID.NotFound" | "InvalidRouteTableId.Malformed" => {
            Kind::RouteTableNotFound
        }
        "InvalidRoute.NotFound" => Kind::RouteMissing,
        "InvalidParameterValue" if says("no route defined") => Kind::RouteMissing,
        "InvalidParameterValue" if says("availability zone") => Kind::InvalidAz,
        "InvalidInstanceID.NotFound" | "InvalidInstanceID.Malformed" => Kind::InstanceNotFound,
        "ResourceNotFoundException" => Kind::TableNotFound,
        "RequestExpired" | "RequestTimeTooSkewed" | "RequestInTheFuture" => Kind::ClockSkew,
        "AuthFailure" | "InvalidSignatureException" | "SignatureDoesNotMatch" if skewed => {
            Kind::ClockSkew
        }
        "AuthFailure"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "OptInRequired"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => Kind::Credentials,
        "AccessDenied"
        | "AccessDeniedException"
        | "Client.UnauthorizedOperation"
        | "UnauthorizedOperation" => Kind::Denied,
        "EC2ThrottledException"
        | "ProvisionedThroughputExceededException"
        | "RequestLimitExceeded"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "SlowDown"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequestsException" => Kind::Throttled,
        "Resource.AlreadyAssociated" => Kind::Conflict(Conflict::AlreadyAssociated),
        "ConditionalCheckFailedException" => Kind::Conflict(Conflict::Condition),
        "IncorrectInstanceState" | "UnsupportedOperation" => Kind::Conflict(Conflict::State),
        "ResourceInUseException" => Kind::Conflict(Conflict::Exists),
        "TransactionConflictException" | "ReplicatedWriteConflictException" => {
            Kind::Conflict(Conflict::Busy)
        }
        _ => Kind::Other,
    }
}

/// Whether nobody listens there: the connection never stood.
fn was_refused(error: &(dyn StdError + 'static)) -> bool {
    find::<io::Error>(error).is_some_and(|cause| {
        matches!(
            cause.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
        )
    })
}

/// The first cause of this type.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(now) = next {
        if let Some(found) = now.downcast_ref::<T>() {
            return Some(found);
        }
        next = now.source();
    }
    None
}

/// An error and its causes in one line, each text once.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(now) = next {
        let part = now.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        next = now.source();
    }
    text
}

fn cut(mut text: String) -> String {
    if text.len() > REASON_BYTES_MAX {
        let mut at = REASON_BYTES_MAX;
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        text.truncate(at);
        text.push('…');
    }
    text
}

impl Kind {
    /// What to do about it.
    fn hint(self) -> &'static str {
        match self {
            Kind::VpcNotFound => "correct the vpc id, or the region",
            Kind::EniNotFound => "correct the id of the network interface, or the region",
            Kind::AllocationNotFound => "correct the allocation id, or the region",
            Kind::AssociationNotFound => "somebody else has changed it; nothing to do",
            Kind::RouteTableNotFound => "it was deleted; look again",
            Kind::RouteMissing => "create the route once; it is only ever replaced",
            Kind::InstanceNotFound => "correct the instance id, or the region",
            Kind::InvalidAz => "correct the availability zone, or the region",
            Kind::TableNotFound => {
                "make it with `lockstep aws create-arbiter`, or correct its name"
            }
            Kind::Timeout | Kind::Unreachable => {
                "check NAT or route to the regional endpoint, or give the VPC an endpoint"
            }
            Kind::Credentials => "give the instance a role, or the service an access key",
            Kind::NoRegion => "set `region`",
            Kind::Denied => "allow it as `lockstep aws iam-policy` shows",
            Kind::Throttled => "other programs of this account make too many calls",
            Kind::ClockSkew => "set the clock of this host (chrony, 169.254.169.123)",
            Kind::Conflict(_) => "look at its state and try again",
            Kind::Server { .. } => "check the endpoint and the state of the region",
            Kind::Other => "look up the code in the reference of the service",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.doing)?;
        if !self.object.is_empty() {
            write!(f, " {}", self.object)?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(code) = &self.code {
            write!(f, " ({code})")?;
        }
        if let Kind::Server { status } = self.kind
            && status > 0
        {
            write!(f, " (HTTP {status})")?;
        }
        write!(f, "; {}", self.kind.hint())
    }
}

impl StdError for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_both_services_are_sorted() {
        let plain = |code| kind_of(code, "");
        assert_eq!(plain("InvalidVpcID.NotFound"), Kind::VpcNotFound);
        assert_eq!(plain("UnauthorizedOperation"), Kind::Denied);
        assert_eq!(plain("AccessDenied"), Kind::Denied);
        assert_eq!(plain("RequestLimitExceeded"), Kind::Throttled);
        assert_eq!(plain("UnrecognizedClientException"), Kind::Credentials);
        assert_eq!(plain("AuthFailure"), Kind::Credentials);
        assert_eq!(
            kind_of("AuthFailure", "AWS was not able to validate the timestamp"),
            Kind::ClockSkew
        );
        assert_eq!(
            kind_of("InvalidSignatureException", "Signature expired: 20260101T000000Z"),
            Kind::ClockSkew
        );
        let missing = "There is no route defined for '10.9.9.9/32' in the route table.";
        assert_eq!(kind_of("InvalidParameterValue", missing), Kind::RouteMissing);
        assert_eq!(kind_of("InvalidParameterValue", "VpcId"), Kind::Other);
        assert_eq!(plain("SomethingNew"), Kind::Other);
    }

    #[test]
    fn only_what_aws_has_answered_is_wrong() {
        let error = |kind| Error::unsent(kind, "look", "", "");
        assert_eq!(error(Kind::EniNotFound).verdict(), Verdict::Wrong);
        for kind in [Kind::Timeout, Kind::Throttled, Kind::Denied, Kind::Credentials, Kind::Other] {
            assert_eq!(error(kind).verdict(), Verdict::Unknown, "{kind:?}");
        }
    }

    #[test]
    fn a_late_call_may_still_land_and_an_unsent_one_can_not() {
        let late = Error::late("replace the route", "rtb-1", Duration::from_secs(2));
        assert!(late.outcome_is_unknown());
        assert!(late.to_string().starts_with("replace the route rtb-1: no answer within 2000 ms;"));
        let unsent = Error::unsent(Kind::NoRegion, "look", "", "no region");
        assert!(!unsent.outcome_is_unknown());
    }

    #[test]
    fn long_reasons_are_cut_between_characters() {
        let long = "ä".repeat(REASON_BYTES_MAX);
        let kept = cut(long);
        assert!(kept.len() <= REASON_BYTES_MAX + '…'.len_utf8());
        assert!(kept.ends_with('…'));
    }
}
