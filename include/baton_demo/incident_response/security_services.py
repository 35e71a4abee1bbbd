"""Look-ups, a firewall, a directory and a ticket system, so that incident response has something to ask and to change.

    python -m baton_demo.incident_response.security_services --port 8090 --database security.db --token-file token

Listens on 127.0.0.1 only and touches nothing but its file; every request but /health needs `Authorization: Bearer <token>`.

    GET  /reputation/{address or domain}   {"indicator", "score" 0..100 (100 worst), "categories": [..]}; unknown: 404
    GET  /assets/{host or its address}     {"host", "asset_class", "owner", "criticality" 1..5, "address", "roles": [..]}
    GET  /users/{name}                     {"user", "department", "privileged", "disabled"}
    POST /{part}/actions                   header Idempotency-Key, body {"action", "target", ...}; 201 with action_id; the
                                           same again 200 with the same action_id; another body under the key 409; 422
    GET  /{part}/actions/{key}             200 or 404
    GET  /{part}/actions?after=0           {"actions": [...], "next": number or null}, 500 at most
    GET  /{part}/state                     {"state": [...]} of all that something was done to
    GET  /firewall/state/{address}         {"address", "blocked"}
    GET  /directory/accounts/{name}        {"account", "disabled", "key_version"}
    GET  /directory/hosts/{host}           {"host", "isolated"}
    GET  /tickets/{number}                 {"ticket", "state", "subject", "target"}
    POST /faults                           {"part", "mode": none|down|slow|wrong|redirect, "seconds"}; with --faults only

Parts with actions: firewall (block_address, unblock_address), directory (disable_account, enable_account, isolate_host,
release_host, rotate_key, restore_key), tickets (open_ticket, close_ticket: by number, or by what it was opened for).
"""

import argparse
from pathlib import Path

from baton_demo.incident_response.security.server import SecurityServer
from baton_demo.json_service import read_token, serve_until_ended


def main() -> None:
    """Serve until TERM or INT."""
    parser = argparse.ArgumentParser(description="Security services on 127.0.0.1.")
    parser.add_argument("--port", type=int, required=True, help="0: any free one; the first line tells which")
    parser.add_argument("--database", type=Path, required=True, help="SQLite file, created when missing")
    parser.add_argument("--token-file", type=Path, required=True, help="file that holds the token and nothing else")
    parser.add_argument("--faults", action="store_true", help="parts can be broken by POST /faults")
    given = parser.parse_args()
    try:
        token = read_token(given.token_file)
    except ValueError as error:
        parser.error(str(error))
    serve_until_ended(SecurityServer(given.port, given.database, token, faults=given.faults), "security services")


if __name__ == "__main__":
    main()
