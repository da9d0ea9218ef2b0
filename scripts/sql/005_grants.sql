-- works from: 5
--
-- Who may what. The roles are made by m2m migrate before the first of these files runs, since they
-- belong to the whole database cluster.

GRANT USAGE ON SCHEMA m2m TO m2m_operator, m2m_monitor, m2m_gateway;

GRANT SELECT ON m2m.terminal_status, m2m.live_session, m2m.audit TO m2m_operator, m2m_monitor;

GRANT EXECUTE ON FUNCTION
  m2m.provision_terminal,
  m2m.rebind_terminal,
  m2m.swap_sims,
  m2m.set_contact,
  m2m.set_credentials,
  m2m.drop_base_key,
  m2m.set_least_login,
  m2m.suspend_terminal,
  m2m.resume_terminal,
  m2m.retire_terminal,
  m2m.disconnect_terminal
TO m2m_operator;

GRANT SELECT ON ALL TABLES IN SCHEMA m2m TO m2m_gateway;
GRANT UPDATE ON m2m.credential, m2m.session TO m2m_gateway;
GRANT INSERT, UPDATE ON m2m.instance TO m2m_gateway;
GRANT INSERT, UPDATE, DELETE ON m2m.failure TO m2m_gateway;
GRANT INSERT, DELETE ON m2m.change TO m2m_gateway;
GRANT INSERT ON m2m.sealing_key TO m2m_gateway;
