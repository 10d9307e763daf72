package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/admin"
	"barnabas/conf"
)

// alterConfigs, versions 0 to 2: the whole set of a resource is replaced. v2:
// flexible.
func (a *API) alterConfigs(ctx context.Context, _ *Call, req *kmsg.AlterConfigsRequest) *kmsg.AlterConfigsResponse {
	of := make([]admin.Alteration, len(req.Resources))
	for i := range req.Resources {
		r := &req.Resources[i]
		of[i] = admin.Alteration{Kind: admin.ResourceKind(r.ResourceType), Name: r.ResourceName, Replace: true}
		for _, c := range r.Configs {
			if c.Value == nil {
				of[i].Nulls = append(of[i].Nulls, c.Name)
				continue
			}
			of[i].Changes = append(of[i].Changes, conf.Change{Name: c.Name, Value: *c.Value})
		}
	}
	resp := kmsg.NewPtrAlterConfigsResponse()
	for i, err := range a.opt.Topics.AlterConfigs(ctx, of, req.ValidateOnly) {
		out := kmsg.NewAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = req.Resources[i].ResourceType, req.Resources[i].ResourceName
		out.ErrorCode, out.ErrorMessage = codeAndText(err)
		resp.Resources = append(resp.Resources, out)
	}
	return resp
}

// incrementalAlterConfigs, versions 0 and 1 (KIP-339): single configs are set,
// deleted, or, where they are lists, grown and shortened. v1: flexible.
func (a *API) incrementalAlterConfigs(ctx context.Context, _ *Call, req *kmsg.IncrementalAlterConfigsRequest) *kmsg.IncrementalAlterConfigsResponse {
	of := make([]admin.Alteration, len(req.Resources))
	for i := range req.Resources {
		r := &req.Resources[i]
		of[i] = admin.Alteration{Kind: admin.ResourceKind(r.ResourceType), Name: r.ResourceName}
		for _, c := range r.Configs {
			change := conf.Change{Op: conf.Op(c.Op), Name: c.Name}
			switch {
			case c.Value != nil:
				change.Value = *c.Value
			case change.Op != conf.Delete:
				of[i].Nulls = append(of[i].Nulls, c.Name)
			}
			of[i].Changes = append(of[i].Changes, change)
		}
	}
	resp := kmsg.NewPtrIncrementalAlterConfigsResponse()
	for i, err := range a.opt.Topics.AlterConfigs(ctx, of, req.ValidateOnly) {
		out := kmsg.NewIncrementalAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = req.Resources[i].ResourceType, req.Resources[i].ResourceName
		out.ErrorCode, out.ErrorMessage = codeAndText(err)
		resp.Resources = append(resp.Resources, out)
	}
	return resp
}
