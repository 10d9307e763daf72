package api

// ElectLeaders (43), versions 0–2: only the controller holds elections; clients
// ask it.
//
//	1  type of the election (KIP-460); an error of the whole request
//	2  flexible

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

func (a *API) electLeaders(ctx context.Context, _ *Call, req *kmsg.ElectLeadersRequest) *kmsg.ElectLeadersResponse {
	tps, all := a.toElect(req)
	if req.ElectionType != int8(cluster.PreferredElection) && req.ElectionType != int8(cluster.UncleanElection) {
		resp := elected(electionFailed(tps, protocol.UnknownServerError), all)
		resp.ErrorCode = protocol.UnknownServerError.Code()
		return resp
	}
	results, err := a.opt.Controller.ElectLeaders(ctx, cluster.ElectionKind(req.ElectionType), tps)
	if err != nil {
		results = electionFailed(tps, protocol.CodeOf(err))
	}
	return elected(results, all)
}

// toElect lists the partitions that a request names, or all where it names none.
func (a *API) toElect(req *kmsg.ElectLeadersRequest) (tps []kafka.TopicPartition, all bool) {
	if req.Topics != nil {
		seen := map[kafka.TopicPartition]bool{} // to Kafka they are a set
		for i := range req.Topics {
			for _, p := range req.Topics[i].Partitions {
				if tp := (kafka.TopicPartition{Topic: req.Topics[i].Topic, Partition: p}); !seen[tp] {
					seen[tp] = true
					tps = append(tps, tp)
				}
			}
		}
		return tps, false
	}
	topics := slices.SortedFunc(a.opt.Image().Topics(), func(x, y *cluster.Topic) int { return strings.Compare(x.Name, y.Name) })
	for _, t := range topics {
		for i, p := range t.Partitions {
			if p != nil {
				tps = append(tps, kafka.TopicPartition{Topic: t.Name, Partition: int32(i)})
			}
		}
	}
	return tps, true
}

func electionFailed(tps []kafka.TopicPartition, code protocol.Error) []cluster.ElectionResult {
	out := make([]cluster.ElectionResult, len(tps))
	for i, tp := range tps {
		out[i] = cluster.ElectionResult{TP: tp, Err: code}
	}
	return out
}

// elected is the answer. Where all partitions were asked for, those that needed
// no election are left out.
func elected(results []cluster.ElectionResult, all bool) *kmsg.ElectLeadersResponse {
	resp := kmsg.NewPtrElectLeadersResponse()
	at := map[string]int{}
	for _, r := range results {
		if all && errors.Is(r.Err, protocol.ElectionNotNeeded) {
			continue
		}
		i, ok := at[r.TP.Topic]
		if !ok {
			i = len(resp.Topics)
			at[r.TP.Topic] = i
			t := kmsg.NewElectLeadersResponseTopic()
			t.Topic = r.TP.Topic
			resp.Topics = append(resp.Topics, t)
		}
		p := kmsg.NewElectLeadersResponseTopicPartition()
		p.Partition = r.TP.Partition
		p.ErrorCode, p.ErrorMessage = codeAndText(r.Err)
		resp.Topics[i].Partitions = append(resp.Topics[i].Partitions, p)
	}
	return resp
}
