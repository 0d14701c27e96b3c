"""What redaction takes for a secret: names, tools, and texts with a known look.

Every expression runs in linear time: what repeats is possessive (``++``) or bounded, and begins
only where a word begins, since any process may choose its arguments.
"""

import re
from typing import Final, NamedTuple

SECRET_WORDS: Final = (
    "password", "passwd", "passphrase", "passcode", "secret", "token", "credential",
    "authorization", "apikey", "accesskey", "privatekey", "accountkey", "signingkey",
    "encryptionkey",
)  # fmt: skip
"""A name that contains one of these, separators left out, holds a secret: ``DB_PASSWORD``,
``apiKey``, ``--aws-secret-access-key``."""

SECRET_PARTS: Final = frozenset({"pass", "pwd", "auth"})
"""Likewise as a whole part of a name only: "pass" is in "compass", too."""

HARMLESS_ENDINGS: Final = (
    "file", "path", "dir", "name", "stdin", "prompt", "length", "type", "ttl", "url", "uri",
    "sock", "expiry", "policy", "manager", "tokenizer", "max-tokens", "new-tokens",
)  # fmt: skip
"""A name that ends so says where a secret lies or what it is like."""


class ToolRule(NamedTuple):
    """Options by which one tool takes a secret."""

    attached: tuple[str, ...] = ()
    """Short options with the secret right behind (``-pSECRET``); alone they ask for it."""
    separate: tuple[str, ...] = ()
    """Options with the secret as the next argument; short ones also right behind."""
    command: str = ""
    """Only behind this subcommand, if any."""
    once: bool = False
    """What follows the secret is another program's command line."""


_MYSQL = ToolRule(attached=("-p",))
_LDAP = ToolRule(separate=("-w",))
_LOGIN = ToolRule(separate=("-p",), command="login")
_P = ToolRule(separate=("-p",))

TOOLS: Final[dict[str, ToolRule]] = {
    **dict.fromkeys(
        (
            "mysql", "mysqldump", "mysqladmin", "mysqlimport", "mysqlshow", "mysqlcheck",
            "mysqlbinlog", "mysqlpump", "mysqlslap", "mariadb", "mariadb-dump", "mariadb-admin",
            "mariadb-import", "mariadb-check", "mariadb-show", "7z", "7za", "7zr",
        ),
        _MYSQL,
    ),
    **dict.fromkeys(("ldapsearch", "ldapadd", "ldapmodify", "ldapdelete", "ldappasswd"), _LDAP),
    **dict.fromkeys(("docker", "podman", "nerdctl", "helm", "oras"), _LOGIN),
    **dict.fromkeys(("mongo", "mongosh", "mongodump", "mongorestore"), _P),
    "sshpass": ToolRule(separate=("-p",), once=True),
    "curl": ToolRule(separate=("-u", "-U", "--user", "--proxy-user", "--oauth2-bearer")),
    "redis-cli": ToolRule(separate=("-a",)),
    "sqlcmd": ToolRule(separate=("-P",)),
    "zip": ToolRule(separate=("-P",)),
    "unzip": ToolRule(separate=("-P",)),
    "smbclient": ToolRule(separate=("-U",)),
}  # fmt: skip

HINT: Final = re.compile(
    rb"pass|secret|token|credential|key|auth|pwd|://|bearer|basic|gh|glpat-|xox|sk-|akia|eyj"
    rb"|mysql|mariadb|7z|ldap|login|mongo|curl|redis-cli|sqlcmd|zip|smbclient"
)
"""Arguments in which this does not occur (in lower case) hold nothing that a rule replaces. One
look at the bytes, for every exec, keeps most of them away from everything below."""

OPTION: Final = re.compile(r"--?[\w.\-]++")
"""An option whose value, if any, is the next argument."""
ASSIGNMENT: Final = re.compile(
    r"""(?<![\w.\-])(?P<name>[\w.\-]++)["']?\s{0,4}[=:]\s{0,4}["']?""", re.VERBOSE
)
"""A name and what separates it from its value: ``DB_PASSWORD=``, ``--db.password='``."""
VALUE: Final = re.compile(
    r"""(?<=")[^"]++ | (?<=')[^']++
      | (?:(?:bearer|basic|token|digest)\s{1,4})?[^\s"'&;,}]++""",
    re.VERBOSE | re.IGNORECASE,
)
"""What an :data:`ASSIGNMENT` is followed by; inside quotes, up to the closing one."""
HEADER: Final = re.compile(r"\s{0,4}(?P<name>[\w\-]++)\s{0,4}:\s{0,4}(?P<value>\S.*+)", re.DOTALL)
"""An HTTP header as an argument of its own: all behind the colon is the value."""
URL: Final = re.compile(
    r"""(?<![A-Za-z0-9+.\-])(?P<scheme>[A-Za-z0-9+.\-]++)://
        (?P<user>[^\s/?#@:'"]*+)(?P<password>:[^\s/?#'"]*)?@""",
    re.VERBOSE,
)
BEARER: Final = re.compile(
    r"\b(?P<scheme>Bearer|Basic)\s{1,4}(?P<value>[A-Za-z0-9._~+/=\-]{6,}+)", re.IGNORECASE
)
KNOWN_TOKEN: Final = re.compile(
    r"""\b(?:gh[pousr]_[A-Za-z0-9]{16,}+ | github_pat_\w{16,}+   # GitHub
           | glpat-[\w\-]{16,}+                                  # GitLab
           | xox[abeprs]-[A-Za-z0-9\-]{10,}+                     # Slack
           | sk-[\w\-]{20,}+ | AKIA[0-9A-Z]{16}                  # API keys
           | eyJ[\w\-]{8,}+\.[\w\-]{4,}+\.[\w\-]*+)              # JSON web token""",
    re.VERBOSE,
)
PRIVATE_KEY: Final = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*+", re.DOTALL)
