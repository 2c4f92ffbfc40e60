package v1alpha1

// Conditions of every kind (kstatus).
const (
	// ConditionReady summarises all others: True when the object does what its spec asks for. Always present after the
	// first pass; positive polarity.
	ConditionReady = "Ready"
	// ConditionReconciling is True while the controller works towards the spec; absent otherwise.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True when a person has to change something before it can go on; absent otherwise, and never
	// together with Reconciling.
	ConditionStalled = "Stalled"
)

// Domain conditions. The operator writes those of workloads and runs; the engine writes Evaluated and Enforced.
const (
	// ConditionStoreAvailable (Platform): the store answers and could make a durable write.
	ConditionStoreAvailable = "StoreAvailable"
	// ConditionEngineAvailable (Platform): the engine runs and its schema is current.
	ConditionEngineAvailable = "EngineAvailable"
	// ConditionCollectorAvailable (http Source): at least one collector takes events.
	ConditionCollectorAvailable = "CollectorAvailable"
	// ConditionListenerAvailable (kafka, nats, connector Source): the listener is connected and reads.
	ConditionListenerAvailable = "ListenerAvailable"
	// ConditionLastRunSucceeded (files and sql Source, Sync): the newest finished run ended well.
	ConditionLastRunSucceeded = "LastRunSucceeded"
	// ConditionEvaluated (Audience): the membership is that of the current generation. Written by the engine.
	ConditionEvaluated = "Evaluated"
	// ConditionSynced (Audience): each destination holds the members of its newest finished run.
	ConditionSynced = "Synced"
	// ConditionReachable (Destination): the newest run of any Sync to it reached it.
	ConditionReachable = "Reachable"
	// ConditionEnforced (RetentionPolicy): nothing that the policy covers is overdue. Written by the engine.
	ConditionEnforced = "Enforced"
	// ConditionTrackingPlanFollowed (Source): no event of the last 24 hours broke the tracking plan. Written by the engine.
	ConditionTrackingPlanFollowed = "TrackingPlanFollowed"
)

// Reasons that more than one kind gives. A reason of one kind stands in that kind's file.
const (
	// ReasonReady : the object does what its spec asks for.
	ReasonReady = "Ready"
	// ReasonProgressing : the controller is at work.
	ReasonProgressing = "Progressing"
	// ReasonSuspended : spec.suspend is true; workloads and runs are stopped, data is kept.
	ReasonSuspended = "Suspended"
	// ReasonInvalidSpec : the spec contradicts itself; the message names the field.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonPlatformNotFound : spec.platformRef names a Platform that is not in the namespace.
	ReasonPlatformNotFound = "PlatformNotFound"
	// ReasonPlatformNotReady : the Platform is there but does not serve yet.
	ReasonPlatformNotReady = "PlatformNotReady"
	// ReasonSecretNotFound : a Secret, or a key in it, that the spec names is missing.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonAudienceNotFound : a criterion or a Sync names an Audience that is not in the namespace.
	ReasonAudienceNotFound = "AudienceNotFound"
	// ReasonDestinationNotFound : a Destination that the spec names is not in the namespace.
	ReasonDestinationNotFound = "DestinationNotFound"
	// ReasonDestinationUnreachable : no connection, a refused login, or an answer that is not the destination's.
	ReasonDestinationUnreachable = "DestinationUnreachable"
	// ReasonSourceUnreachable : a file or a database that the Source reads cannot be reached.
	ReasonSourceUnreachable = "SourceUnreachable"
	// ReasonRunMissed : a run could not start within spec.startingDeadline; the next one covers its time.
	ReasonRunMissed = "RunMissed"
	// ReasonMappingInvalid : spec.mapping does not parse, or fails for every row.
	ReasonMappingInvalid = "MappingInvalid"
	// ReasonTrackingPlanInvalid : a schema of spec.trackingPlan does not compile; the plan of before stays in force.
	ReasonTrackingPlanInvalid = "TrackingPlanInvalid"
	// ReasonTrackingPlanViolated : events broke the tracking plan; status.trackingPlan counts them.
	ReasonTrackingPlanViolated = "TrackingPlanViolated"
	// ReasonTrackingPlanFollowed : no event of the last 24 hours broke the tracking plan.
	ReasonTrackingPlanFollowed = "TrackingPlanFollowed"
	// ReasonQueryFailed : the database refused spec.sql.query.
	ReasonQueryFailed = "QueryFailed"
	// ReasonRowsRejected : the run ended, and some rows were refused; status counts them by reason.
	ReasonRowsRejected = "RowsRejected"
	// ReasonRunFailed : the newest run failed; the message says how.
	ReasonRunFailed = "RunFailed"
	// ReasonAwaitingFirstRun : no run has finished yet.
	ReasonAwaitingFirstRun = "AwaitingFirstRun"
	// ReasonWorkloadUnavailable : pods of a workload are not ready; the message says which and why.
	ReasonWorkloadUnavailable = "WorkloadUnavailable"
	// ReasonAwaitingEvaluation : the engine has not computed the membership of the current spec yet.
	ReasonAwaitingEvaluation = "AwaitingFirstEvaluation"
	// ReasonAwaitingEnforcement : the engine has not enforced the current spec yet.
	ReasonAwaitingEnforcement = "AwaitingFirstEnforcement"
	// ReasonNoDestinations : the Audience has no destinations, so there is nothing to sync.
	ReasonNoDestinations = "NoDestinations"
	// ReasonEvaluationFailed : the engine could not compute the membership.
	ReasonEvaluationFailed = "EvaluationFailed"
	// ReasonChangeTooLarge : the newest evaluation would change more than spec.guard lets pass, and waits for approval.
	ReasonChangeTooLarge = "ChangeTooLarge"
	// ReasonRolledBack : the members are those of an earlier revision, and the rule is not evaluated.
	ReasonRolledBack = "RolledBack"
	// ReasonRevisionNotFound : the revision to go back to is not there, or not any more.
	ReasonRevisionNotFound = "RevisionNotFound"
	// ReasonNameTaken : an object that the controller has to make exists and belongs to somebody else.
	ReasonNameTaken = "NameTaken"
	// ReasonVolumeCannotGrow (Platform): the volume's claim cannot take the size of the spec; the message says why.
	ReasonVolumeCannotGrow = "VolumeCannotGrow"
	// ReasonMembersLeft (Event): a Sync went although its members could not be taken out of the destination.
	ReasonMembersLeft = "MembersLeft"
	// ReasonSuppressionNotReady : an Audience of the Destination's spec.suppress is not there or not evaluated, so nobody
	// is added.
	ReasonSuppressionNotReady = "SuppressionNotReady"
	// ReasonDestinationBusy : as many runs deliver to the Destination as its spec.rateLimit.concurrency lets at a time.
	ReasonDestinationBusy = "DestinationBusy"
	// ReasonReconcileError : the API server refused or did not answer; the controller tries again. The message says what.
	ReasonReconcileError = "ReconcileError"
	// ReasonDraining : the object is being deleted and members are being taken out of the destination first.
	ReasonDraining = "Draining"
)
