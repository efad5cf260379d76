"""What is said of a store's answers: which key is named, and whether a person must mend it."""

import pytest

from common.s3_errors import S3Place, complaint_of

PLACE = S3Place(bucket="mails", endpoint="https://s3.example.com")


def answer(status: int, code: str = "", message: str = "canary") -> Exception:
    """Return the error for an answer of S3, in the form of obstore's."""
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>" if code else "<html>canary</html>"
    return Exception(
        "Generic S3 error: Error performing PUT https://s3.example.com/mails/x in 1ms - "
        f"Server returned non-2xx status code: {status} Said: {body}"
    )


@pytest.mark.parametrize(
    ("error", "begins", "lasting"),
    [
        (answer(404, "NoSuchBucket"), "blobs: there is no bucket mails at https://s3.example.com: make it", True),
        (answer(403, "AccessDenied"), "blobs: the bucket mails at https://s3.example.com refuses s3:PutObject", True),
        (answer(403), "blobs: the bucket mails at https://s3.example.com refuses s3:PutObject: allow", True),
        (answer(403, "InvalidAccessKeyId"), "blobs_access_key: https://s3.example.com knows no such access key", True),
        (answer(403, "SignatureDoesNotMatch"), "blobs_secret_key: isn't the secret of this access key", True),
        (answer(400, "ExpiredToken"), "blobs_access_key: the session token isn't valid any more", True),
        (answer(403, "RequestTimeTooSkewed"), "blobs: https://s3.example.com says that this machine's clock", True),
        (answer(400, "AuthorizationHeaderMalformed"), "blobs_region: the bucket mails at https://s3", True),
        (answer(301, "PermanentRedirect"), "blobs_region: the bucket mails at https://s3", True),
        (answer(404), "blobs: the bucket mails at https://s3.example.com answers 404", False),
        (answer(503, "SlowDown"), "blobs: the bucket mails at https://s3.example.com answers 503 SlowDown", False),
        (answer(500, "InternalError"), "blobs: the bucket mails at https://s3.example.com answers 500 Int", False),
        (
            Exception("error sending request ... dns error"),
            "blobs: the bucket mails at https://s3.example.com c",
            False,
        ),
        (Exception("performing PUT http://169.254.169.254/latest/api/token"), "blobs_access_key: there are no", True),
    ],
)
def test_an_answer_names_its_key(error: Exception, begins: str, lasting: bool) -> None:  # noqa: FBT001 (a table's column)
    """What can change by itself is waited for; nothing of an answer's text is repeated."""
    complaint = complaint_of(error, PLACE, "s3:PutObject")
    assert complaint.text.startswith(f"[service] {begins}")
    assert complaint.lasting is lasting
    assert complaint.away is any(word in str(error) for word in (" 500 ", " 503 ", "dns error"))
    assert "canary" not in complaint.text
