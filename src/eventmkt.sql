-- eventmkt holds code only, and one member table (secret); see eventmkt.init() for the data
CREATE SCHEMA eventmkt;
COMMENT ON SCHEMA eventmkt IS 'event-driven marketing: functions, types and aggregates';
