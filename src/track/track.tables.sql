-- track: the bulk door
CREATE OR REPLACE VIEW eventmkt_data.inbox AS
	SELECT NULL::text AS user_id, NULL::text AS anonymous_id, NULL::text AS event, NULL::jsonb AS properties,
		NULL::timestamptz AS occurred_at, NULL::text AS message_id
	WHERE false;
COMMENT ON VIEW eventmkt_data.inbox IS 'COPY or INSERT messages here; any subset of the columns';
CREATE OR REPLACE TRIGGER gather INSTEAD OF INSERT ON eventmkt_data.inbox
	FOR EACH ROW EXECUTE FUNCTION eventmkt.inbox_gather();
CREATE OR REPLACE TRIGGER flush AFTER INSERT ON eventmkt_data.inbox
	FOR EACH STATEMENT EXECUTE FUNCTION eventmkt.inbox_flush();
