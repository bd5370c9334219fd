BEGIN TRANSACTION;
CREATE TABLE adapter (
	name VARCHAR NOT NULL, 
	alias VARCHAR NOT NULL, 
	path VARCHAR NOT NULL, 
	digest VARCHAR NOT NULL, 
	base_digest VARCHAR NOT NULL, 
	parent VARCHAR, 
	status VARCHAR NOT NULL, 
	created_at DATETIME NOT NULL, 
	order_id VARCHAR, 
	verdict JSON, 
	PRIMARY KEY (name)
);
CREATE TABLE alarm (
	rowid INTEGER NOT NULL, 
	alias VARCHAR NOT NULL, 
	version VARCHAR NOT NULL, 
	exchange_rowid INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	onset_at DATETIME NOT NULL, 
	"row" INTEGER NOT NULL, 
	onset_row INTEGER NOT NULL, 
	kind VARCHAR NOT NULL, 
	evidence FLOAT NOT NULL, 
	threshold FLOAT NOT NULL, 
	features JSON NOT NULL, 
	examples JSON NOT NULL, 
	vanished JSON DEFAULT '[]' NOT NULL, 
	reason VARCHAR NOT NULL, 
	report VARCHAR, 
	PRIMARY KEY (rowid)
);
CREATE TABLE decision (
	rowid INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	alias VARCHAR NOT NULL, 
	action VARCHAR NOT NULL, 
	reasons JSON NOT NULL, 
	seen JSON NOT NULL, 
	PRIMARY KEY (rowid)
);
CREATE TABLE estimate (
	rowid INTEGER NOT NULL, 
	version VARCHAR NOT NULL, 
	exchange_rowid INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	value FLOAT NOT NULL, 
	low FLOAT NOT NULL, 
	high FLOAT NOT NULL, 
	level FLOAT NOT NULL, 
	n_truth INTEGER NOT NULL, 
	n_judged INTEGER NOT NULL, 
	since DATETIME NOT NULL, 
	until DATETIME NOT NULL, 
	method VARCHAR NOT NULL, 
	PRIMARY KEY (rowid)
);
CREATE TABLE event (
	rowid INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	kind VARCHAR NOT NULL, 
	text VARCHAR NOT NULL, 
	data JSON NOT NULL, 
	PRIMARY KEY (rowid)
);
INSERT INTO "event" VALUES(1,'2026-11-01 12:00:00.000000','adopted','home-v1 answers for home','{}');
CREATE TABLE exchange (
	rowid INTEGER NOT NULL, 
	id VARCHAR NOT NULL, 
	worker VARCHAR NOT NULL, 
	seq INTEGER NOT NULL, 
	started_at DATETIME NOT NULL, 
	path VARCHAR NOT NULL, 
	alias VARCHAR NOT NULL, 
	version VARCHAR NOT NULL, 
	status INTEGER NOT NULL, 
	outcome VARCHAR NOT NULL, 
	messages JSON NOT NULL, 
	answer VARCHAR NOT NULL, 
	reasoning VARCHAR NOT NULL, 
	finish_reason VARCHAR, 
	streamed BOOLEAN NOT NULL, 
	user VARCHAR, 
	conversation VARCHAR, 
	template VARCHAR, 
	prompt_tokens INTEGER, 
	answer_tokens INTEGER, 
	ttft_s FLOAT, 
	total_s FLOAT NOT NULL, 
	request_cut_bytes INTEGER NOT NULL, 
	response_cut_bytes INTEGER NOT NULL, 
	tools JSON DEFAULT '[]' NOT NULL, 
	tool_calls JSON DEFAULT '[]' NOT NULL, 
	answers INTEGER DEFAULT '1' NOT NULL, 
	logprob_mean FLOAT, 
	gap_p50_s FLOAT, 
	gap_max_s FLOAT, 
	template_version VARCHAR, 
	features JSON, 
	text_gone VARCHAR, 
	PRIMARY KEY (rowid), 
	UNIQUE (worker, seq)
);
INSERT INTO "exchange" VALUES(1,'chatcmpl-00000000000000000000000000000001','w',1,'2026-11-01 12:00:01.000000','/v1/chat/completions','home','home-v1',200,'complete','[{"role":"system","text":"You keep a house."},{"role":"user","text":"turn on lamp 1"}]','light.on(1)','it is dark','stop',1,NULL,NULL,NULL,12,5,0.25,0.5,0,0,'["light"]','[{"name":"light","arguments":"{\"lamp\": 1}"}]',1,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "exchange" VALUES(2,'chatcmpl-00000000000000000000000000000002','w',2,'2026-11-01 12:00:02.000000','/v1/chat/completions','home','home-v1',200,'complete','[{"role":"system","text":"You keep a house."},{"role":"user","text":"turn on lamp 2"}]','light.on(2)','it is dark','stop',1,NULL,NULL,NULL,12,5,0.25,0.5,0,0,'["light"]','[{"name":"light","arguments":"{\"lamp\": 2}"}]',1,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "exchange" VALUES(3,'chatcmpl-00000000000000000000000000000003','w',3,'2026-11-01 12:00:03.000000','/v1/chat/completions','home','home-v1',200,'complete','[{"role":"system","text":"You keep a house."},{"role":"user","text":"turn on lamp 3"}]','light.on(3)','it is dark','stop',1,NULL,NULL,NULL,12,5,0.25,0.5,0,0,'["light"]','[{"name":"light","arguments":"{\"lamp\": 3}"}]',1,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE grade (
	rowid INTEGER NOT NULL, 
	exchange_id VARCHAR NOT NULL, 
	source VARCHAR NOT NULL, 
	score FLOAT NOT NULL, 
	truth BOOLEAN NOT NULL, 
	at DATETIME NOT NULL, 
	correction VARCHAR, 
	cost_tokens INTEGER NOT NULL, 
	PRIMARY KEY (rowid), 
	UNIQUE (exchange_id, source)
);
INSERT INTO "grade" VALUES(1,'chatcmpl-00000000000000000000000000000002','ada',1.0,1,'2026-11-01 12:00:00.000000',NULL,0);
CREATE TABLE profile (
	window_id VARCHAR NOT NULL, 
	version VARCHAR NOT NULL, 
	start_at DATETIME NOT NULL, 
	end_at DATETIME NOT NULL, 
	rows INTEGER NOT NULL, 
	slice VARCHAR DEFAULT 'all' NOT NULL, 
	profile BLOB NOT NULL, 
	PRIMARY KEY (window_id)
);
CREATE TABLE reading (
	rowid INTEGER NOT NULL, 
	exchange_rowid INTEGER NOT NULL, 
	window_id VARCHAR NOT NULL, 
	version VARCHAR NOT NULL, 
	feature VARCHAR NOT NULL, 
	measure VARCHAR NOT NULL, 
	value FLOAT NOT NULL, 
	at DATETIME NOT NULL, 
	PRIMARY KEY (rowid)
);
CREATE TABLE retrain_order (
	id VARCHAR NOT NULL, 
	alias VARCHAR NOT NULL, 
	status VARCHAR NOT NULL, 
	reason VARCHAR NOT NULL, 
	document JSON NOT NULL, 
	opened_at DATETIME NOT NULL, 
	started_at DATETIME, 
	finished_at DATETIME, 
	heartbeat_at DATETIME, 
	attempts INTEGER NOT NULL, 
	pid INTEGER, 
	stage VARCHAR, 
	progress FLOAT NOT NULL, 
	verdict JSON, 
	error VARCHAR, 
	PRIMARY KEY (id)
);
CREATE TABLE rollout (
	alias VARCHAR NOT NULL, 
	champion VARCHAR NOT NULL, 
	challenger VARCHAR, 
	phase VARCHAR NOT NULL, 
	step INTEGER NOT NULL, 
	step_since_rowid INTEGER NOT NULL, 
	step_since_at DATETIME, 
	promoted_at DATETIME, 
	note VARCHAR NOT NULL, 
	updated_at DATETIME NOT NULL, 
	PRIMARY KEY (alias)
);
CREATE TABLE state (
	"key" VARCHAR NOT NULL, 
	cursor INTEGER NOT NULL, 
	state BLOB NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "state" VALUES('watch',2,X'7B7D');
CREATE TABLE tally_exchange (
	worker VARCHAR NOT NULL, 
	alias VARCHAR NOT NULL, 
	version VARCHAR NOT NULL, 
	outcome VARCHAR NOT NULL, 
	n INTEGER NOT NULL, 
	PRIMARY KEY (worker, alias, version, outcome)
);
CREATE TABLE tally_grade (
	source VARCHAR NOT NULL, 
	truth BOOLEAN NOT NULL, 
	n INTEGER NOT NULL, 
	cost_tokens INTEGER NOT NULL, 
	last_at DATETIME NOT NULL, 
	PRIMARY KEY (source, truth)
);
CREATE TABLE worker (
	worker VARCHAR NOT NULL, 
	pid INTEGER NOT NULL, 
	seen_at DATETIME NOT NULL, 
	assigned INTEGER NOT NULL, 
	dropped INTEGER NOT NULL, 
	PRIMARY KEY (worker)
);
INSERT INTO "worker" VALUES('w',7,'2026-11-01 12:00:00.000000',4,1);
CREATE INDEX ix_adapter_alias ON adapter (alias);
CREATE INDEX ix_estimate_version ON estimate (version);
CREATE INDEX ix_event_kind ON event (kind);
CREATE INDEX ix_exchange_started_at ON exchange (started_at);
CREATE INDEX ix_exchange_id ON exchange (id);
CREATE INDEX ix_exchange_version ON exchange (version);
CREATE INDEX ix_grade_exchange_id ON grade (exchange_id);
CREATE INDEX ix_profile_version ON profile (version);
CREATE INDEX reading_series ON reading (feature, measure, exchange_rowid, version, value);
CREATE INDEX ix_reading_exchange_rowid ON reading (exchange_rowid);
CREATE INDEX ix_reading_window_id ON reading (window_id);
CREATE INDEX ix_retrain_order_status ON retrain_order (status);
COMMIT;
