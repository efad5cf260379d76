"""The configuration of the tests' Dovecot 2.3: no privileges, no waiting, one set of users a service."""

from typing import Final

CONFIG: Final = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = pop3 lmtp
listen = 127.0.0.1
hostname = local.example
postmaster_address = postmaster@local.example
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
default_client_limit = 5000
default_process_limit = 500
first_valid_uid = 1
disable_plaintext_auth = no
mail_location = maildir:~/Maildir
mail_max_userip_connections = 1000
# A test of wrong passwords shall not wait for them.
auth_failure_delay = 0
auth_cache_size = 0
auth_mechanisms = plain login cram-md5 apop scram-sha-1 scram-sha-256{oauth_mechanisms}
{oauth_passdb}
passdb {{
  driver = dict
  args = {folder}/accounts.conf
}}
userdb {{
  driver = dict
  args = {folder}/accounts.conf
}}
# What a client sent is stored as it came, below one Return-Path.
lmtp_add_received_header = no
lmtp_hdr_delivery_address = none
recipient_delimiter =
ssl = {ssl}
{certificate}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service pop3-login {{
  chroot =
  service_count = 0
  process_min_avail = 1
  inet_listener pop3 {{
    port = {pop3_port}
  }}
  inet_listener pop3s {{
    port = {pop3s_port}
  }}
}}
service pop3 {{
  # A process serves one session after another, which spares a fork each.
  service_count = 200
}}
protocol lmtp {{
  mail_plugins = quota
}}
plugin {{
  # Of an account without a rule of its own there is no limit.
  quota = maildir:User quota
  quota_grace = 0
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp_port}
  }}
}}
"""

OAUTH_PASSDB: Final = """
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {folder}/oauth2.conf
}}
"""

OAUTH: Final = """
introspection_mode = post
introspection_url = {introspection_url}
client_id = dovecot
username_attribute = username
active_attribute = active
active_value = true
timeout_msecs = 5000
"""

ACCOUNTS: Final = """
uri = fs:posix:prefix={folder}/accounts/
key account {{
  key = %s/%Lu
  format = json
}}
passdb_objects = account
userdb_objects = account
"""
"""One file an account, read at each lookup: a passwd-file is looked at once a second, too late for a test."""
