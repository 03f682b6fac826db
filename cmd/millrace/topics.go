package main

// topics are the texts of help that belong to no command. An empty line
// separates paragraphs; one that begins with a blank is not wrapped.
var topics = []struct{ name, short, text string }{
	{"exit-codes", "what the exit codes mean", `Every command ends with one of these codes, and with one line on standard error unless it is 0.

    0  done; or a role that has no end of its own was stopped in good order
    1  failed
    2  used or set wrongly, a wrong password or a symbol that the exchange
       doesn't have among it: nothing was begun; or the exchange sends another
       format than was asked for; or the log, the state or a checkpoint is of
       a newer millrace, which the line names
    3  not whole: dev --until-done found an open gap or wrote a dead letter,
       audit found a candle that differs, is missing or isn't final,
       ingest status found an open gap, a lost connection, a symbol that has
       been held for longer than a minute or trades that wait for Kafka
    4  something needed is away or taken: Kafka, SQL, NATS or Binance can't be
       reached, a port is in use, another process uses the data folder;
       ingest was stopped and Kafka did not acknowledge its last trades in 10 s
  130  stopped before it was done, by a signal or by --for; or at once, by a
       second signal

The first SIGINT or SIGTERM stops in good order: what has been read is written, positions are kept. A second one ends the process at once, which loses nothing either, but makes the next start work more. Code 4 is worth a new try later, codes 2 and 3 are not.`},

	{"dead-letters", "what dead letters are, and their reasons", `What can't be used is not dropped: it goes to the topic of dead letters (ticks.dead), with its reason and the error in the headers millrace-reason and millrace-error. The reasons:

  straddle     an aggregate of which some trades were counted before. It heals:
               those that are missing come from another ingestor, or are
               fetched as single trades right after, and nothing is lost.
               Ingestors of trade and of aggTrade side by side write some of
               them in normal running; one kind of --streams for all
               ingestors of a symbol avoids it
  undecodable  a frame or a record that can't be read
  invalid      a trade that contradicts itself
  overflow     a number, or a sum, that doesn't fit
  future       its time lies too far ahead of when it was written
  final        its candle was final already
  series       an old id with a new time: the exchange has begun its ids anew
  unsettled    no settings stood in the log before it
  unsupported  a kind of record that this version doesn't know

A trade that was refused isn't counted, so its id is a gap until it comes some other way. ` + "`millrace ingest status`" + ` tells of open gaps.`},

	{"configuration", "where settings come from, and which place is strongest", `A setting can be given in four places. The first that gives it counts:

  1. a flag:         --kafka-tls --periods 1s,1m
  2. environment:    MILLRACE_KAFKA_TLS=true MILLRACE_PERIODS="1s 1m"
  3. a YAML file:    kafka-tls: true
                     periods: [1s, 1m]
  4. its default

The file is the one named by --config or MILLRACE_CONFIG; without either it is ./millrace.yaml, if there is one. All roles can share one file and one environment: a command takes what it knows. A name that no command knows is an error, in the file as in the environment. An empty variable counts as not set.

Lists are separated by commas or spaces, or are lists in YAML. Only the files of --from are not: the flag may stand more than once, and in the environment a colon separates them. A flag that is on is turned off with --name=false. --fresh and --yes can only be flags.

Passwords and tokens belong into a file (--kafka-password-file, --sql-password-file, --nats-password-file, --nats-token-file, --nats-creds) or into the environment: other users of a machine can see flags. A password given in two places of the same strength is an error. None is ever shown: not in logs, not in errors, not by ` + "`millrace config`" + `, which prints what is in force and where each came from.

Some settings belong to the log, not to a process: partitions, periods, three-day-anchor and empty-seconds are written into the topic when it is made. Later starts take them from there; one that is set and differs stops the start. ` + "`millrace settings`" + ` shows and changes them.`},
}
